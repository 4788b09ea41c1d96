//go:build etcd

package across

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// While etcd does not answer, only the first newcomer of a worker waits. The timeout here is long,
// so a newcomer that waits is not mistaken for a slow machine.
func TestOnlyTheFirstWaits(t *testing.T) {
	t.Parallel()
	const timeout = 5 * time.Second
	e := startEtcd(t)
	r := startWith(t, e, 1, "", `, "timeout": "5s"`)[0]
	open(t, r, rig.HTTP2, 0, rigtest.NewClient())
	e.signal(t, syscall.SIGSTOP)
	c := rigtest.Dial(t, r, rig.HTTP2, 0)
	start := time.Now()
	rigtest.Open(t, c, rigtest.Get("events", rigtest.NewClient()))
	first := time.Since(start)
	start = time.Now()
	const others = 10
	for range others {
		rigtest.Open(t, c, rigtest.Get("events", rigtest.NewClient()))
	}
	t.Logf("the first newcomer waited %v, and the next %d together %v", first, others, time.Since(start))
	if took := time.Since(start); first < timeout/2 || took > timeout/2 {
		t.Errorf("the first newcomer waited %v, want about %v; the next %d together %v, want no wait", first, timeout, others, took)
	}
	e.signal(t, syscall.SIGCONT)
	e.wantStreams(t, 1+1+others)
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
