package hostile

import (
	"fmt"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// The VM of a worker crashes, and Envoy starts a new one there. Streams on other workers go on, and
// new streams can be opened on every worker. A client whose stream was on the dead worker can open
// a new one at once. Entries of clients that do not come back are swept.
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
		t.Fatalf("the request that crashes the filter: got status %d, want 503", got)
	}
	rigtest.WantFlow(t, r, elsewhere)

	// The client comes back while the registry still has its stream on the dead worker.
	back := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, alive), rigtest.Get("events", returning))
	rigtest.WantFlow(t, r, back)
	rigtest.WantCounts(t, r, "events", rigtest.Counts{Opened: 4, Superseded: 1, Active: 3})

	// A stream of the dead VM ends at its next callback.
	for _, s := range []*rig.Stream{first, second} {
		r.Backend.Send(s.ID, "are you there?")
		rigtest.WantEnd(t, s, rig.Reset)
	}
	rigtest.WantLive(t, r, returning, back)
	rigtest.WantLive(t, r, gone)

	// The new VM on the thread of the dead worker.
	client := rigtest.NewClient()
	old := rigtest.Open(t, recovered(t, r, dead), rigtest.Get("events", client))
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, dead), rigtest.Get("events", client))
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantFlow(t, r, newer)

	// The stream of the client that is gone was not released, so it is swept.
	wait.Until(t, func() error {
		if got := rigtest.Metrics(t, r)["swept"]; got != 1 {
			return fmt.Errorf("swept: got %d, want 1", got)
		}
		return nil
	})
	rigtest.WantCounts(t, r, "events", rigtest.Counts{Opened: 6, Superseded: 2, Active: 3})
	for _, s := range []*rig.Stream{elsewhere, back, newer} {
		rigtest.WantFlow(t, r, s)
		s.Close()
	}
	rigtest.WantCounts(t, r, "events", rigtest.Counts{Opened: 6, Superseded: 2, Released: 3})
	for _, once := range []string{"swept streams=1", "started version="} { // a new VM does not log its start again at info
		if got := r.Log.Containing(once); len(got) != 1 {
			t.Errorf("log: got %q %d times, want once", once, len(got))
		}
	}
}

// The only worker crashes, with reject_new. A client whose stream was cut comes back two seconds
// later, as a browser does. It must not be refused for a stream that has ended: a 409 stops an
// EventSource for good. Nobody but the new VM can know that the old one is dead.
func TestCrashAlone(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Module: rig.Guest("crash"), Filter: `{"rules": [{"name": "events",
		"match": {"path": {"prefix": "/events/"}}, "client": [{"query": "client"}], "on_duplicate": "reject_new"}]}`})
	client := rigtest.NewClient()
	first := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("events", client))
	if got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("events", client)).Status; got != 409 {
		t.Fatalf("a second stream of the client: got status %d, want 409", got)
	}
	crash := rigtest.Get("events", rigtest.NewClient())
	crash.Header = map[string]string{"x-crash": "now"}
	if got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), crash).Status; got != 503 {
		t.Fatalf("the request that crashes the filter: got status %d, want 503", got)
	}
	comesBack := time.NewTimer(2 * time.Second)
	r.Backend.Send(first.ID, "are you there?")
	rigtest.WantEnd(t, first, rig.Reset)
	<-comesBack.C
	back := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("events", client))
	rigtest.WantFlow(t, r, back)
	wait.Until(t, func() error {
		if got := rigtest.Metrics(t, r)["events.active"]; got != 1 {
			return fmt.Errorf("active streams: got %d, want 1", got)
		}
		return nil
	})
}

// recovered waits until the worker serves requests for event streams again, and returns a
// connection to it.
func recovered(t *testing.T, r *rig.Rig, worker int) *rig.Conn {
	t.Helper()
	probe := rigtest.Get("events", rigtest.NewClient())
	probe.Answer = rig.JSON
	conn := rigtest.Dial(t, r, rig.HTTP2, worker)
	wait.Until(t, func() error {
		if got := rigtest.Do(t, conn, probe).Status; got != 200 {
			return fmt.Errorf("worker %d after the crash: got status %d, want 200", worker, got)
		}
		return nil
	})
	return conn
}
