//go:build etcd

package across

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// While etcd does not answer, only the first newcomer of a worker waits: the metric of waits counts
// none of the others.
func TestOnlyTheFirstWaits(t *testing.T) {
	t.Parallel()
	e := startEtcd(t)
	r := start(t, e, 1, "")[0]
	c := rigtest.Dial(t, r, rig.HTTP2, 0)
	rigtest.Open(t, c, rigtest.Get("events", rigtest.NewClient()))
	e.wantStreams(t, 1)
	const before = 2 // its request, and its response
	rigtest.WantSamples(t, r, fmt.Sprintf("streamlatch_fleet_claim_ms_count{} %d", before))
	e.stop(t)
	const newcomers = 11
	for range newcomers {
		rigtest.Open(t, c, rigtest.Get("events", rigtest.NewClient()))
	}
	e.goOn(t)
	e.wantStreams(t, 1+newcomers)
	rigtest.WantSamples(t, r, fmt.Sprintf("streamlatch_fleet_claim_ms_count{} %d", before+1))
}

// etcd is killed and comes back, with its data or without. No stream ends, all are registered
// again, and takeovers work as before.
func TestEtcdRestarts(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("data lost %v", lost), func(t *testing.T) {
			e := startEtcd(t)
			envoys := start(t, e, 2, "")
			clients := rigtest.NewClients(8)
			var streams []*rig.Stream
			for i, client := range clients {
				streams = append(streams, open(t, envoys[i%2], rig.HTTP2, i/2%2, client))
			}
			e.wantStreams(t, len(clients))
			e.kill()
			if lost {
				e.forget(t)
			}
			e.start(t)
			e.wantStreams(t, len(clients))
			for i, client := range clients {
				rigtest.WantLive(t, envoys[0], client, streams[i])
				if !streams[i].Live() {
					t.Errorf("stream %d has ended", i)
				}
			}
			for i, client := range clients {
				fresh := open(t, envoys[(i+1)%2], rig.HTTP1, 0, client)
				rigtest.WantEnd(t, streams[i], rig.Reset)
				rigtest.WantLive(t, envoys[0], client, fresh)
			}
			e.wantStreams(t, len(clients))
		})
	}
}

// An Envoy stands still for longer than its leases, and goes on. Its streams are registered again,
// except for one whose client has meanwhile come to another Envoy.
func TestEnvoyStandsStill(t *testing.T) {
	t.Parallel()
	e := startEtcd(t)
	envoys := start(t, e, 2, "")
	moved, stayed := rigtest.NewClient(), rigtest.NewClient()
	old, kept := open(t, envoys[0], rig.HTTP2, 0, moved), open(t, envoys[0], rig.HTTP2, 1, stayed)
	e.wantStreams(t, 2)
	still := envoys[0].Envoy().PID()
	if err := syscall.Kill(still, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(still, syscall.SIGCONT) })
	e.wantStreams(t, 0)
	fresh := open(t, envoys[1], rig.HTTP2, 0, moved)
	if err := syscall.Kill(still, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	rigtest.WantEnd(t, old, rig.Reset)
	e.wantStreams(t, 2)
	rigtest.WantLive(t, envoys[0], moved, fresh)
	rigtest.WantLive(t, envoys[0], stayed, kept)
	wait.Until(t, func() error {
		if lost := rigtest.Metrics(t, envoys[0])["fleet_leases_lost"]; lost != 2 {
			return fmt.Errorf("fleet_leases_lost is %d, want 2: one for each worker", lost)
		}
		return nil
	})
}
