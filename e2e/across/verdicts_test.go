//go:build etcd

package across

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// A stream that is superseded at another Envoy gets its goodbye there.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Rule: `"goodbye_grace": "60s", "retry": "2s"`, Ports: e.Ports(t)})
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		client := rigtest.NewClient()
		old := fleettest.Open(t, envoys[0], p, 0, client)
		fresh := fleettest.Open(t, envoys[1], p, 1, client)
		wait.Until(t, func() error { // the goodbye comes before the next event of the backend
			if old.Live() {
				envoys[0].Backend.Send(old.ID, "event")
				return fmt.Errorf("the old stream lives, and has received %q", old.Received())
			}
			return nil
		})
		rigtest.WantEnd(t, old, rig.Reset)
		if got := old.Received(); !strings.Contains(got, "\nevent: streamlatch\ndata: {\"reason\":\"superseded\"") {
			t.Errorf("the old stream received %q, want a goodbye that says superseded", got)
		}
		rigtest.WantLive(t, envoys[0], client, fresh)
		rigtest.WantFlow(t, envoys[0], fresh)
	})
}

// With reject_new a client with a stream at one Envoy is refused at the others, until that stream
// ends.
func TestRejectNew(t *testing.T) {
	t.Parallel()
	for _, claimAt := range []string{"request", "response"} {
		t.Run(claimAt, func(t *testing.T) {
			e := fleettest.StartEtcd(t, 1)
			envoys := fleettest.Envoys(t, 2, fleettest.Options{Rule: `"on_duplicate": "reject_new", "claim_at": "` + claimAt + `"`, Ports: e.Ports(t)})
			rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
				client := rigtest.NewClient()
				first := fleettest.Open(t, envoys[0], p, 0, client)
				r := rigtest.Do(t, rigtest.Dial(t, envoys[1], p, 1), rigtest.Get("events", client))
				if r.Status != http.StatusConflict {
					t.Errorf("the second stream got status %d, want 409", r.Status)
				}
				if asked := envoys[0].Backend.Asked(client); asked != 1 {
					t.Errorf("the backend got %d requests, want only that of the first stream", asked)
				}
				rigtest.WantLive(t, envoys[0], client, first)
				first.Close()
				e.WantStreams(t, 0)
				fleettest.Open(t, envoys[1], p, 0, client).Close()
				e.WantStreams(t, 0)
			})
		})
	}
}

// The tokens for takeovers are counted over all Envoys. A browser that has none left is told to
// come back, and a program gets a status.
func TestTakeoverLimit(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Rule: `"takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}`, Ports: e.Ports(t)})
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		client := rigtest.NewClient()
		first := fleettest.Open(t, envoys[0], p, 0, client)
		second := fleettest.Open(t, envoys[1], p, 0, client)
		rigtest.WantEnd(t, first, rig.Reset)
		r := rigtest.Do(t, rigtest.Dial(t, envoys[0], p, 1), rigtest.Get("events", client))
		if m := rigtest.SoftRefusal.FindStringSubmatch(r.Body); r.Status != http.StatusOK || m == nil || m[2] != "takeover_limit" {
			t.Errorf("a browser got status %d and %q, want 200 and a refusal that says takeover_limit", r.Status, r.Body)
		}
		program := rigtest.Get("events", client)
		program.Header = map[string]string{"accept": "application/json, text/event-stream"}
		if r := rigtest.Do(t, rigtest.Dial(t, envoys[0], p, 0), program); r.Status != http.StatusTooManyRequests {
			t.Errorf("a program got status %d, want 429", r.Status)
		}
		rigtest.WantLive(t, envoys[0], client, second)
		second.Close()
		e.WantStreams(t, 0)
	})
}

// A client may have two streams over all Envoys. The oldest of three ends.
func TestTwoStreams(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Rule: `"max_streams": 2`, Ports: e.Ports(t)})
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		client := rigtest.NewClient()
		var streams []*rig.Stream
		for i := range 4 {
			streams = append(streams, fleettest.Open(t, envoys[i%2], p, i/2, client))
		}
		rigtest.WantEnd(t, streams[0], rig.Reset)
		rigtest.WantEnd(t, streams[1], rig.Reset)
		rigtest.WantLive(t, envoys[0], client, streams[2:]...)
		e.WantStreams(t, 2)
		streams[2].Close()
		e.WantStreams(t, 1)
		again := fleettest.Open(t, envoys[1], p, 0, client) // there is room
		rigtest.WantLive(t, envoys[0], client, streams[3], again)
		streams[3].Close()
		again.Close()
		e.WantStreams(t, 0)
	})
}

// A rule that observes resets nobody, and counts what it would have done. A rule with scope envoy
// asks no etcd.
func TestObserveAndScope(t *testing.T) {
	t.Parallel()
	for about, more := range map[string]string{"observe": `"mode": "observe"`, "scope envoy": `"scope": "envoy"`} {
		t.Run(about, func(t *testing.T) {
			e := fleettest.StartEtcd(t, 1)
			envoys := fleettest.Envoys(t, 2, fleettest.Options{Rule: more, Ports: e.Ports(t)})
			client := rigtest.NewClient()
			first := fleettest.Open(t, envoys[0], rig.HTTP2, 0, client)
			second := fleettest.Open(t, envoys[1], rig.HTTP2, 0, client)
			if about == "observe" {
				wait.Until(t, func() error {
					total := uint64(0)
					for _, r := range envoys {
						total += rigtest.Metrics(t, r)["events.superseded"]
					}
					if total != 1 {
						return fmt.Errorf("the Envoys count %d superseded streams, want 1", total)
					}
					return nil
				})
			} else {
				e.WantNothing(t)
			}
			rigtest.WantLive(t, envoys[0], client, first, second)
			rigtest.WantFlow(t, envoys[0], first)
			rigtest.WantFlow(t, envoys[0], second)
		})
	}
}

// When all Envoys have stopped, nothing is left of them in etcd.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Ports: e.Ports(t)})
	for i, r := range envoys {
		for range 3 {
			fleettest.Open(t, r, rig.HTTP2, i, rigtest.NewClient())
		}
	}
	e.WantStreams(t, 6)
	for _, r := range envoys {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	}
	e.WantNothing(t)
}
