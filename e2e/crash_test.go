package e2e

import (
	"fmt"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A worker's VM crashes. Envoy starts a fresh one there; streams of other workers have not noticed, new ones can be
// opened everywhere, and what the dead worker held is free at once for the clients who want it, and is swept for the
// others.
func TestCrash(t *testing.T) {
	t.Parallel()
	r := start(t, rig.Options{Module: rig.Guest("crash")})
	const dead, alive = 0, 1
	returning, gone, away := newClient(), newClient(), newClient()
	first := open(t, dial(t, r, rig.HTTP1, dead), get("events", returning))
	second := open(t, dial(t, r, rig.HTTP2, dead), get("events", gone))
	elsewhere := open(t, dial(t, r, rig.HTTP1, alive), get("events", away))
	wantCounts(t, r, "events", counts{opened: 3, active: 3})

	crash := get("events", newClient())
	crash.Header = map[string]string{"x-crash": "now"}
	crash.Answer = rig.JSON
	if got := do(t, dial(t, r, rig.HTTP1, dead), crash).Status; got != 503 {
		t.Fatalf("the request that crashes the filter: status %d, want 503", got)
	}
	wantFlow(t, r, elsewhere)

	// The client comes back while the registry still holds its stream of the dead worker.
	back := open(t, dial(t, r, rig.HTTP2, alive), get("events", returning))
	wantFlow(t, r, back)
	wantCounts(t, r, "events", counts{opened: 4, superseded: 1, active: 3})

	// The streams of a dead VM end with the next thing that happens on them.
	for _, s := range []*rig.Stream{first, second} {
		r.Backend.Send(s.ID, "are you there?")
		wantEnd(t, s, rig.Reset)
	}
	wantLive(t, r, returning, back)
	wantLive(t, r, gone)

	// The fresh VM on the dead worker's thread.
	client := newClient()
	old := open(t, recovered(t, r, dead), get("events", client))
	newer := open(t, dial(t, r, rig.HTTP1, dead), get("events", client))
	wantEnd(t, old, rig.Reset)
	wantFlow(t, r, newer)

	// Nobody has told the registry of the end of the stream whose client is gone.
	eventually(t, func() error {
		if got := metrics(t, r)["swept"]; got != 1 {
			return fmt.Errorf("swept is %d, want 1", got)
		}
		return nil
	})
	wantCounts(t, r, "events", counts{opened: 6, superseded: 2, active: 3})
	for _, s := range []*rig.Stream{elsewhere, back, newer} {
		wantFlow(t, r, s)
		s.Close()
	}
	wantCounts(t, r, "events", counts{opened: 6, superseded: 2, released: 3})
	for _, once := range []string{"swept streams=1", "started version="} { // the fresh VM is no news
		if got := r.Log.Containing(once); len(got) != 1 {
			t.Errorf("the log has %q %d times, want once", once, len(got))
		}
	}
}

// recovered waits until the worker serves event streams again, and returns a connection to it.
func recovered(t *testing.T, r *rig.Rig, worker int) *rig.Conn {
	t.Helper()
	probe := get("events", newClient())
	probe.Answer = rig.JSON
	conn := dial(t, r, rig.HTTP2, worker)
	eventually(t, func() error {
		if got := do(t, conn, probe).Status; got != 200 {
			return fmt.Errorf("after the crash worker %d answers with status %d, want 200", worker, got)
		}
		return nil
	})
	return conn
}
