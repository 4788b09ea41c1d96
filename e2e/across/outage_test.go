//go:build etcd

package across

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/filter/reply"
)

// While etcd does not answer, only the first newcomer of a worker waits: the metric of waits counts
// none of the others.
func TestOnlyTheFirstWaits(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	r := fleettest.Envoys(t, 1, fleettest.Options{Ports: e.Ports(t)})[0]
	c := rigtest.Dial(t, r, rig.HTTP2, 0)
	rigtest.Open(t, c, rigtest.Get("events", rigtest.NewClient()))
	e.WantStreams(t, 1)
	const before = 2 // its request, and its response
	rigtest.WantSamples(t, r, fmt.Sprintf("streamlatch_fleet_claim_ms_count{} %d", before))
	e.Stop(t)
	const newcomers = 11
	for range newcomers {
		rigtest.Open(t, c, rigtest.Get("events", rigtest.NewClient()))
	}
	e.GoOn(t)
	e.WantStreams(t, 1+newcomers)
	rigtest.WantSamples(t, r, fmt.Sprintf("streamlatch_fleet_claim_ms_count{} %d", before+1))
}

// While etcd does not answer, the Envoy with a client's newest stream still knows what the fleet
// knew: no token is left, and a superseded page stays out.
func TestMemoryWhileAway(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{
		Rule:  `"takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}, "instance": [{"header": "x-page"}]`,
		Ports: e.Ports(t),
	})
	client := rigtest.NewClient()
	page := func(name string) rig.Request {
		r := rigtest.Get("events", client)
		r.Header = map[string]string{"accept": "text/event-stream", "x-page": name}
		return r
	}
	old := rigtest.Open(t, rigtest.Dial(t, envoys[0], rig.HTTP2, 0), page("one"))
	fresh := rigtest.Open(t, rigtest.Dial(t, envoys[1], rig.HTTP2, 0), page("two"))
	rigtest.WantEnd(t, old, rig.Reset)
	e.Stop(t)
	c := rigtest.Dial(t, envoys[1], rig.HTTP2, 1)
	for name, want := range map[string]string{"one": "superseded", "three": "takeover_limit"} {
		if got := rigtest.Do(t, c, page(name)).Header.Get(reply.Marker); got != want {
			t.Errorf("page %s is refused for %q, want %s", name, got, want)
		}
	}
	e.GoOn(t)
	rigtest.WantLive(t, envoys[0], client, fresh)
	e.WantStreams(t, 1)
}

// The status of an Envoy says what each of its workers has in the fleet, and that etcd is away.
func TestStatus(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	r := fleettest.Envoys(t, 1, fleettest.Options{Ports: e.Ports(t)})[0]
	clients := rigtest.NewClients(4)
	for i, client := range clients[:3] {
		fleettest.Open(t, r, rig.HTTP2, i%2, client)
	}
	operator := rigtest.Operator(t, r, rig.HTTP2)
	want := func(away bool, registered, unregistered int) {
		t.Helper()
		wait.Until(t, func() error {
			var status struct {
				Workers []struct {
					Fleet []struct {
						Cluster, Lease, Fault    string
						Age                      int64 `json:"lease_age_ms"`
						Away                     bool
						Registered, Unregistered int
					}
				}
			}
			body := rigtest.Do(t, operator, rig.Request{Path: "/streamlatch"}).Body
			if err := json.Unmarshal([]byte(body), &status); err != nil {
				return fmt.Errorf("%w in %s", err, body)
			}
			in, out, awayToo := 0, 0, false
			for _, w := range status.Workers {
				for _, m := range w.Fleet {
					if m.Cluster != "etcd" || len(m.Lease) != 16 || m.Age <= 0 || m.Away != (m.Fault != "") {
						return fmt.Errorf("a member is %+v", m)
					}
					in, out, awayToo = in+m.Registered, out+m.Unregistered, awayToo || m.Away
				}
			}
			if in != registered || out != unregistered || awayToo != away {
				return fmt.Errorf("away %v, %d registered, %d unregistered; want %v, %d, %d in %s", awayToo, in, out, away, registered, unregistered, body)
			}
			return nil
		})
	}
	want(false, 3, 0)
	e.Stop(t)
	fleettest.Open(t, r, rig.HTTP2, 0, clients[3])
	want(true, 3, 1)
	e.GoOn(t)
	want(false, 4, 0)
}

// etcd is killed and comes back, with its data or without. No stream ends, all are registered
// again, and takeovers work as before.
func TestEtcdRestarts(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("data lost %v", lost), func(t *testing.T) {
			e := fleettest.StartEtcd(t, 1)
			envoys := fleettest.Envoys(t, 2, fleettest.Options{Ports: e.Ports(t)})
			clients := rigtest.NewClients(8)
			var streams []*rig.Stream
			for i, client := range clients {
				streams = append(streams, fleettest.Open(t, envoys[i%2], rig.HTTP2, i/2%2, client))
			}
			e.WantStreams(t, len(clients))
			e.Kill()
			if lost {
				e.Forget(t)
			}
			e.Start(t)
			e.WantStreams(t, len(clients))
			for i, client := range clients {
				rigtest.WantLive(t, envoys[0], client, streams[i])
				if !streams[i].Live() {
					t.Errorf("stream %d has ended", i)
				}
			}
			for i, client := range clients {
				fresh := fleettest.Open(t, envoys[(i+1)%2], rig.HTTP1, 0, client)
				rigtest.WantEnd(t, streams[i], rig.Reset)
				rigtest.WantLive(t, envoys[0], client, fresh)
			}
			e.WantStreams(t, len(clients))
		})
	}
}

// An Envoy stands still for longer than its leases, and goes on. Its streams are registered again,
// except for one whose client has meanwhile come to another Envoy.
func TestEnvoyStandsStill(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Ports: e.Ports(t)})
	moved, stayed := rigtest.NewClient(), rigtest.NewClient()
	old, kept := fleettest.Open(t, envoys[0], rig.HTTP2, 0, moved), fleettest.Open(t, envoys[0], rig.HTTP2, 1, stayed)
	e.WantStreams(t, 2)
	still := envoys[0].Envoy().PID()
	if err := syscall.Kill(still, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(still, syscall.SIGCONT) })
	e.WantStreams(t, 0)
	fresh := fleettest.Open(t, envoys[1], rig.HTTP2, 0, moved)
	if err := syscall.Kill(still, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	rigtest.WantEnd(t, old, rig.Reset)
	e.WantStreams(t, 2)
	rigtest.WantLive(t, envoys[0], moved, fresh)
	rigtest.WantLive(t, envoys[0], stayed, kept)
	wait.Until(t, func() error {
		if lost := rigtest.Metrics(t, envoys[0])["fleet_leases_lost"]; lost != 2 {
			return fmt.Errorf("fleet_leases_lost is %d, want 2: one for each worker", lost)
		}
		return nil
	})
}
