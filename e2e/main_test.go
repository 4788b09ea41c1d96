// Package e2e tells, through a real Envoy with the shipped envoy.yaml, what users of the filter see.
//
// Each file is a story. Most share one Envoy, whose configuration is [scenarios]: a rule a story, so that the counters
// of one do not move with another's streams and all can run at the same time.
package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// patience is how long something that must happen is waited for. It is there to end a test that hangs, and says
// nothing of how long things take.
const patience = 30 * time.Second

// scenarios is the filter's configuration in the shared Envoy.
const scenarios = `{"rules": [
	{"name": "rejected", "match": {"path": {"prefix": "/rejected/"}}, "client": [{"query": "client"}]},
	{"name": "post",     "match": {"path": {"prefix": "/post/"}},     "client": [{"query": "client"}]},
	{"name": "leave",    "match": {"path": {"prefix": "/leave/"}},    "client": [{"query": "client"}]},
	{"name": "finish",   "match": {"path": {"prefix": "/finish/"}},   "client": [{"query": "client"}]},
	{"name": "unkeyed",  "match": {"path": {"prefix": "/unkeyed/"}},  "client": [{"query": "client"}]},
	{"name": "separate", "match": {"path": {"prefix": "/separate/"}}, "client": [{"query": "client"}]},
	{"name": "header",   "match": {"path": {"prefix": "/header/"}},   "client": [{"header": "X-User"}]},
	{"name": "cookie",   "match": {"path": {"prefix": "/cookie/"}},   "client": [{"cookie": "session"}]},
	{"name": "pair",     "match": {"path": {"prefix": "/pair/"}},     "client": [{"header": "x-tenant"}, {"header": "x-user"}]},
	{"name": "observe",  "match": {"path": {"prefix": "/observe/"}},  "client": [{"query": "client"}], "mode": "observe"},
	{"name": "two",      "match": {"path": {"prefix": "/two/"}},      "client": [{"query": "client"}], "max_streams": 2},
	{"name": "crowd",    "match": {"path": {"prefix": "/crowd/"}},    "client": [{"query": "client"}], "max_streams": 64},
	{"name": "slow",     "match": {"path": {"prefix": "/slow/"}},     "client": [{"query": "client"}]},
	{"name": "mux",      "match": {"path": {"prefix": "/mux/"}},      "client": [{"query": "client"}]},
	{"name": "reuse",    "match": {"path": {"prefix": "/reuse/"}},    "client": [{"query": "client"}]},
	{"name": "secret",   "match": {"path": {"prefix": "/secret/"}},   "client": [{"query": "client"}]},
	{"name": "plain",    "match": {"path": {"prefix": "/plain/"}},    "client": [{"header": "x-user"}]}
]}`

var shared struct {
	start sync.Once
	rig   *rig.Rig
	err   error
}

// sharedRig returns the Envoy of the scenarios. Its log is as talkative as the filter can be.
func sharedRig(t *testing.T) *rig.Rig {
	t.Helper()
	shared.start.Do(func() {
		shared.rig, shared.err = rig.Start(context.Background(), rig.Options{Filter: scenarios, LogLevel: "wasm:debug"})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	explain(t, shared.rig)
	return shared.rig
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.rig != nil {
		if err := shared.rig.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "the shared Envoy:", err)
			code = 1
		}
		if found := leaks(shared.rig); len(found) > 0 {
			fmt.Fprintf(os.Stderr, "the shared Envoy's logs name clients:\n%s\n", strings.Join(found, "\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// start starts an Envoy of the test's own.
func start(t *testing.T, o rig.Options) *rig.Rig {
	t.Helper()
	r, err := rig.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	explain(t, r)
	return r
}

// explain shows what Envoy complained of during a test that has failed.
func explain(t *testing.T, r *rig.Rig) {
	before := len(r.Log.Lines())
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		const enough = 20 // lines; a panic's trace is hundreds
		shown := 0
		for _, line := range r.Log.Lines()[before:] {
			if entry, ok := proxy.ParseLogEntry(line); ok && entry.Alarming() && shown < enough {
				shown++
				t.Log("envoy:", line)
			}
		}
	})
}

// rawID begins every client id, so that one that gets into a log can be found there.
const rawID = "raw-client-id-"

var clients atomic.Int64

// newClient returns the id of a client that no other test has.
func newClient() string { return fmt.Sprintf("%s%d", rawID, clients.Add(1)) }

func leaks(r *rig.Rig) []string {
	return append(r.Log.Containing(rawID), r.Access.Containing(rawID)...)
}

// get is a client's request for an event stream under a rule that reads the query.
func get(rule, client string) rig.Request {
	return rig.Request{Client: client, Path: "/" + rule + "/?client=" + client}
}

// dial opens a connection to one of Envoy's workers.
func dial(t *testing.T, r *rig.Rig, p rig.Protocol, worker int) *rig.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := r.DialWorker(ctx, p, worker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// open opens an event stream.
func open(t *testing.T, c *rig.Conn, q rig.Request) *rig.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := c.Open(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// do sends a request that is answered at once.
func do(t *testing.T, c *rig.Conn, q rig.Request) *rig.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	response, err := c.Do(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// eventually waits until check has no objection.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v still: %v", patience, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// metrics returns the filter's metrics now.
func metrics(t *testing.T, r *rig.Rig) map[string]uint64 {
	t.Helper()
	m, err := r.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// counts are the metrics of a rule that most stories are about.
type counts struct{ opened, superseded, released, active uint64 }

func countsOf(m map[string]uint64, rule string) counts {
	return counts{
		opened:     m[rule+".opened"],
		superseded: m[rule+".superseded"],
		released:   m[rule+".released"],
		active:     m[rule+".active"],
	}
}

func (c counts) since(before counts) counts {
	return counts{c.opened - before.opened, c.superseded - before.superseded, c.released - before.released, c.active - before.active}
}

// wantCounts waits until a rule's metrics are these.
func wantCounts(t *testing.T, r *rig.Rig, rule string, want counts) {
	t.Helper()
	wantCountsSince(t, r, rule, counts{}, want)
}

// wantCountsSince waits until a rule's metrics have moved by so much.
func wantCountsSince(t *testing.T, r *rig.Rig, rule string, before, want counts) {
	t.Helper()
	eventually(t, func() error {
		if got := countsOf(metrics(t, r), rule).since(before); got != want {
			return fmt.Errorf("metrics of rule %s: %+v, want %+v", rule, got, want)
		}
		return nil
	})
}

// wantLive waits until the backend has exactly these streams of the client open.
func wantLive(t *testing.T, r *rig.Rig, client string, want ...*rig.Stream) {
	t.Helper()
	var ids []int
	for _, s := range want {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	eventually(t, func() error {
		if live := r.Backend.Live(client); !slices.Equal(live, ids) {
			return fmt.Errorf("the backend has the client's streams %v open, want %v", live, ids)
		}
		return nil
	})
}

// wantFlow checks that an event goes from the backend to the client on a stream.
func wantFlow(t *testing.T, r *rig.Rig, s *rig.Stream) {
	t.Helper()
	const event = "are you there?"
	if !r.Backend.Send(s.ID, event) {
		t.Fatalf("stream %d is not open at the backend", s.ID)
	}
	late := time.After(patience)
	for {
		select {
		case got := <-s.Events():
			if got == event {
				return
			}
		case <-s.Done():
			t.Fatalf("stream %d has ended before an event came", s.ID)
		case <-late:
			t.Fatalf("no event came on stream %d", s.ID)
		}
	}
}

// wantEnd waits for the end of a stream.
func wantEnd(t *testing.T, s *rig.Stream, want rig.How) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end, err := s.End(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if end.How != want {
		t.Fatalf("stream %d: %v (%v), want %v", s.ID, end.How, end.Err, want)
	}
}

// protocols runs a test as a client of each. What fails over one is not waited for over the other.
func protocols(t *testing.T, test func(t *testing.T, p rig.Protocol)) {
	for _, p := range []rig.Protocol{rig.HTTP1, rig.HTTP2} {
		if !t.Run(p.String(), func(t *testing.T) { test(t, p) }) {
			return
		}
	}
}
