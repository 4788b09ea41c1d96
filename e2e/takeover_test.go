package e2e

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A client opens a second stream: the first is cut, at the client and at the backend, and the second lives. The filter
// and its configuration are the shipped ones; nothing else goes on in this Envoy.
func TestTakeover(t *testing.T) {
	t.Parallel()
	r := start(t, rig.Options{})
	for _, place := range []struct {
		name        string
		first, then int // workers
	}{
		{"same worker", 1, 1},
		{"another worker", 2, 0},
	} {
		for _, c := range []struct {
			name        string
			first, then rig.Protocol
			method      string // of the second
		}{
			{"HTTP/1.1", rig.HTTP1, rig.HTTP1, "GET"},
			{"HTTP/1.1 by HTTP/2", rig.HTTP1, rig.HTTP2, "GET"},
			{"HTTP/2 by HTTP/1.1", rig.HTTP2, rig.HTTP1, "GET"},
			{"HTTP/2", rig.HTTP2, rig.HTTP2, "GET"},
			// The access log names no client: these two streams are told apart in it by their methods.
			{"GET by POST", rig.HTTP1, rig.HTTP1, "POST"},
		} {
			if !t.Run(place.name+", "+c.name, func(t *testing.T) {
				takeover(t, r, dial(t, r, c.first, place.first), dial(t, r, c.then, place.then), c.method)
			}) {
				return // the others would be no better and take their time
			}
		}
	}
	// Nothing needed to be put right: every takeover came about by its message and not by a tick that found it missing.
	for _, name := range []string{"contended", "lost_wakeups", "malformed", "swept"} {
		if got, ok := metrics(t, r)[name]; !ok || got != 0 {
			t.Errorf("%s is %d (defined: %v), want 0", name, got, ok)
		}
	}
	t.Run("the access log gives the reason", func(t *testing.T) {
		wantAccessLog(t, r, map[ending]int{
			{"GET", "superseded"}: 10,
			{"GET", "none"}:       8,
			{"POST", "none"}:      2,
		})
	})
}

func takeover(t *testing.T, r *rig.Rig, first, then *rig.Conn, method string) {
	before := countsOf(metrics(t, r), "events")
	if before.active != 0 {
		t.Fatalf("events.active is %d with no stream open, want 0", before.active)
	}
	client := newClient()
	old := open(t, first, get("events", client))
	wantFlow(t, r, old)
	request := get("events", client)
	request.Method = method
	newer := open(t, then, request)

	wantEnd(t, old, rig.Reset)
	wantLive(t, r, client, newer)
	wantFlow(t, r, newer)
	wantCountsSince(t, r, "events", before, counts{opened: 2, superseded: 1, active: 1})

	newer.Close()
	wantLive(t, r, client)
	wantCountsSince(t, r, "events", before, counts{opened: 2, superseded: 1, released: 1})
}

// ending is what the access log says of a stream.
type ending struct{ method, reason string }

// wantAccessLog stops Envoy, for it has written the last of its access log only then, and compares it.
func wantAccessLog(t *testing.T, r *rig.Rig, want map[ending]int) {
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	got := make(map[ending]int)
	for _, line := range r.Access.Lines() {
		var written struct {
			Method, Route string
			Status        int
			Reason        *string
		}
		if err := json.Unmarshal([]byte(line), &written); err != nil {
			t.Fatalf("access log: %s: %v", line, err)
		}
		if written.Route != "event-streams" || written.Status != 200 {
			t.Errorf("access log: want status 200 on route event-streams: %s", line)
		}
		end := ending{written.Method, "none"}
		if written.Reason != nil {
			end.reason = *written.Reason
		}
		got[end]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("the access log has %v, want %v", got, want)
	}
}
