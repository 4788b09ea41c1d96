package hostile

import (
	"fmt"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// A worker's VM crashes. Envoy starts a fresh one there; streams of other workers have not noticed, new ones can be
// opened everywhere, and what the dead worker held is free at once for the clients who want it, and is swept for the
// others.
func TestCrash(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Module: rig.Guest("crash")})
	const dead, alive = 0, 1
	returning, gone, away := rigtest.NewClient(), rigtest.NewClient(), rigtest.NewClient()
	first := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, dead), rigtest.Get("events", returning))
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, dead), rigtest.Get("events", gone))
	elsewhere := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, alive), rigtest.Get("events", away))
	rigtest.WantCounts(t, r, "events", rigtest.Counts{Opened: 3, Active: 3})

	crash := rigtest.Get("events", rigtest.NewClient())
	crash.Header = map[string]string{"x-crash": "now"}
	crash.Answer = rig.JSON
	if got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, dead), crash).Status; got != 503 {
		t.Fatalf("the request that crashes the filter: status %d, want 503", got)
	}
	rigtest.WantFlow(t, r, elsewhere)

	// The client comes back while the registry still holds its stream of the dead worker.
	back := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, alive), rigtest.Get("events", returning))
	rigtest.WantFlow(t, r, back)
	rigtest.WantCounts(t, r, "events", rigtest.Counts{Opened: 4, Superseded: 1, Active: 3})

	// The streams of a dead VM end with the next thing that happens on them.
	for _, s := range []*rig.Stream{first, second} {
		r.Backend.Send(s.ID, "are you there?")
		rigtest.WantEnd(t, s, rig.Reset)
	}
	rigtest.WantLive(t, r, returning, back)
	rigtest.WantLive(t, r, gone)

	// The fresh VM on the dead worker's thread.
	client := rigtest.NewClient()
	old := rigtest.Open(t, recovered(t, r, dead), rigtest.Get("events", client))
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, dead), rigtest.Get("events", client))
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantFlow(t, r, newer)

	// Nobody has told the registry of the end of the stream whose client is gone.
	wait.Until(t, func() error {
		if got := rigtest.Metrics(t, r)["swept"]; got != 1 {
			return fmt.Errorf("swept is %d, want 1", got)
		}
		return nil
	})
	rigtest.WantCounts(t, r, "events", rigtest.Counts{Opened: 6, Superseded: 2, Active: 3})
	for _, s := range []*rig.Stream{elsewhere, back, newer} {
		rigtest.WantFlow(t, r, s)
		s.Close()
	}
	rigtest.WantCounts(t, r, "events", rigtest.Counts{Opened: 6, Superseded: 2, Released: 3})
	for _, once := range []string{"swept streams=1", "started version="} { // the fresh VM is no news
		if got := r.Log.Containing(once); len(got) != 1 {
			t.Errorf("the log has %q %d times, want once", once, len(got))
		}
	}
}

// recovered waits until the worker serves event streams again, and returns a connection to it.
func recovered(t *testing.T, r *rig.Rig, worker int) *rig.Conn {
	t.Helper()
	probe := rigtest.Get("events", rigtest.NewClient())
	probe.Answer = rig.JSON
	conn := rigtest.Dial(t, r, rig.HTTP2, worker)
	wait.Until(t, func() error {
		if got := rigtest.Do(t, conn, probe).Status; got != 200 {
			return fmt.Errorf("after the crash worker %d answers with status %d, want 200", worker, got)
		}
		return nil
	})
	return conn
}
