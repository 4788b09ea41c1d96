package streams

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// A client opens a second stream. The first one is cut, at the client and at the backend, and the
// second one lives. The filter and its configuration are the shipped ones. Nothing else happens in
// this Envoy.
func TestTakeover(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{})
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
			method      string // of the second request
		}{
			{"HTTP/1.1", rig.HTTP1, rig.HTTP1, "GET"},
			{"HTTP/1.1 by HTTP/2", rig.HTTP1, rig.HTTP2, "GET"},
			{"HTTP/2 by HTTP/1.1", rig.HTTP2, rig.HTTP1, "GET"},
			{"HTTP/2", rig.HTTP2, rig.HTTP2, "GET"},
			// The access log names no client, so only the method distinguishes these two streams
			// there.
			{"GET by POST", rig.HTTP1, rig.HTTP1, "POST"},
		} {
			if !t.Run(place.name+", "+c.name, func(t *testing.T) {
				takeover(t, r, rigtest.Dial(t, r, c.first, place.first), rigtest.Dial(t, r, c.then, place.then), c.method)
			}) {
				return // the other cases would fail too, slowly
			}
		}
	}
	// Every takeover was done by its message. None had to be repaired by a later tick.
	for _, name := range []string{"contended", "lost_wakeups", "malformed", "swept"} {
		if got, ok := rigtest.Metrics(t, r)[name]; !ok || got != 0 {
			t.Errorf("%s: got %d (defined: %v), want 0", name, got, ok)
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
	before := rigtest.CountsOf(rigtest.Metrics(t, r), "events")
	if before.Active != 0 {
		t.Fatalf("events.active: got %d with no stream open, want 0", before.Active)
	}
	client := rigtest.NewClient()
	old := rigtest.Open(t, first, rigtest.Get("events", client))
	rigtest.WantFlow(t, r, old)
	request := rigtest.Get("events", client)
	request.Method = method
	newer := rigtest.Open(t, then, request)

	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantLive(t, r, client, newer)
	rigtest.WantFlow(t, r, newer)
	rigtest.WantCountsSince(t, r, "events", before, rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})

	newer.Close()
	rigtest.WantLive(t, r, client)
	rigtest.WantCountsSince(t, r, "events", before, rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
}

// ending is what the access log says about a stream.
type ending struct{ method, reason string }

// wantAccessLog stops Envoy, which writes the rest of its access log then, and checks the log.
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
			t.Errorf("access log: got %s, want status 200 on route event-streams", line)
		}
		end := ending{written.Method, "none"}
		if written.Reason != nil {
			end.reason = *written.Reason
		}
		got[end]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("access log: got %v, want %v", got, want)
	}
}
