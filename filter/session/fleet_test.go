//go:build !wasip1

package session

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/fleet"
	"github.com/streamlatch/streamlatch/filter/registry"
)

const inFleet = `"fleet": {"clusters": ["etcd"], "secret": "000102030405060708090a0b0c0d0e0f"}`

// knows fails the test unless the fleet knows so many of the worker's streams.
func (h *fakeHost) knows(want int) {
	h.t.Helper()
	all := 0
	for _, m := range h.worker.fleet.members {
		all += m.Streams().All
	}
	if all != want {
		h.t.Errorf("the fleet knows %d streams, want %d", all, want)
	}
}

// fail fails a call to etcd, and then those that follow.
func (h *fakeHost) fail(call uint32) {
	h.t.Helper()
	h.silent = false
	h.call(inCall, nil, func() { h.worker.CallFailed(call, 14, "no answer") })
}

// While etcd cannot be reached, each Envoy decides alone. What it refuses is no stream of the
// fleet, even while the request is held: else it would be registered, and end others, when etcd is
// back.
func TestRefusedAlone(t *testing.T) {
	for _, at := range []string{"request", "response"} {
		t.Run(at, func(t *testing.T) {
			w := newEdge(t).worker(configured(refusing+`, "claim_at": "`+at+`"`, inFleet))
			first := w.open("alice")
			w.knows(1)
			if x := w.ask("alice"); at == "request" && x.reply == nil {
				t.Fatal("the second stream is not refused")
			} else if x.reply == nil {
				x.answer(eventStream)
			}
			w.knows(1)
			if x := w.ask("alice"); at == "request" && !x.waits {
				t.Fatal("a client that comes back at once is not held")
			} else if at == "request" {
				w.knows(1)
				w.advance(2)
				if x.reply == nil || x.reply.status != 409 {
					t.Errorf("the held request is answered with %v, want a refusal", x.reply)
				}
			} else {
				x.end(byClient)
			}
			w.knows(1)
			first.end(byClient)
			w.knows(0)
		})
	}
}

// While a request is held, its client's place becomes free.
func TestHeldAlone(t *testing.T) {
	w := newEdge(t).worker(configured(refusing+`, "claim_at": "request"`, inFleet))
	first := w.open("alice")
	w.ask("alice")
	x := w.ask("alice")
	if !x.waits {
		t.Fatal("a client that comes back at once is not held")
	}
	first.end(byClient)
	w.knows(0)
	w.advance(2)
	if x.reply != nil || x.waits {
		t.Fatalf("the held request is answered with %v, waits %t, want it let in", x.reply, x.waits)
	}
	x.answer(eventStream)
	w.knows(1)
}

// A stream at the end of its time keeps its place in the fleet until its goodbye is said. Whoever
// supersedes it meanwhile is told to it.
func TestExpiredInFleet(t *testing.T) {
	w := newEdge(t).worker(configured(`"max_lifetime": "1s", "goodbye_grace": "1m"`, inFleet))
	s := w.open("alice")
	w.advance(3)
	if s.stream.phase != leaving {
		t.Fatalf("phase %s, want it leaving", s.stream.phase)
	}
	w.knows(1)
	s.end(byClient)
	w.knows(0)
}

// A call of MCP is refused with its id, also after it was held, and if this Envoy is full.
func TestRefusedCallOfFleet(t *testing.T) {
	call := fields{":method": "POST", ":path": "/mcp", "accept": "application/json, text/event-stream",
		"content-type": "application/json", "mcp-protocol-version": "2025-06-18", "x-client-id": "alice",
		"body": `{"jsonrpc": "2.0", "id": 7, "method": "tools/call"}`}
	for name, c := range map[string]struct{ rule, more, client string }{
		"duplicate":  {refusing, inFleet, "alice"},
		"overloaded": {"", inFleet + `, "max_total_streams": 1`, "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(`"claim_at": "request"`+and(c.rule), c.more))
			w.open(c.client)
			for n := range 2 {
				x := w.send(call)
				if held := n == 1; x.waits != held {
					t.Fatalf("request %d is held: %v, want %v", n, x.waits, held)
				}
				e.advance(2)
				w.call(inRequest, x, func() { x.action = x.stream.RequestBody(len(call["body"]), true) })
				if x.reply == nil || !strings.Contains(x.reply.body, `"id":7`) {
					t.Fatalf("request %d is answered with %v, want a refusal of call 7", n, x.reply)
				}
				if !strings.Contains(x.reply.body, name) {
					t.Errorf("request %d is refused with %q, want %s", n, x.reply.body, name)
				}
			}
			w.knows(1)
		})
	}
}

// A request passes two filters. The one that does not claim it leaves nothing in the fleet.
func TestFleetForgetsARequestOfAnotherFilter(t *testing.T) {
	w := newEdge(t).worker(configured(`"max_streams": 2`, inFleet))
	twin := w.open("alice")
	x := w.ask("alice")
	w.knows(2)
	w.same = func(context uint32) bool { return context == twin.id }
	x.answer(eventStream)
	x.end(byClient)
	w.knows(1)
}

// Envoy answers itself while the request, or the response, waits for etcd.
func TestEnvoyAnswersWhatWaits(t *testing.T) {
	for name, c := range map[string]struct {
		rule   string
		answer fields
	}{
		"looking":                   {"", fields{":status": "504"}},
		"looking, an event stream":  {"", eventStream},
		"claiming":                  {`"claim_at": "request"`, fields{":status": "504"}},
		"claiming, an event stream": {`"claim_at": "request"`, eventStream},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEdge(t).worker(configured(c.rule, inFleet))
			w.silent = true
			x := w.ask("alice")
			if !x.waits {
				t.Fatal("the request does not wait")
			}
			x.waits = false
			x.answer(c.answer)
			w.knows(0)
			w.fail(1)
			if x.action != Continue || x.resets > 0 {
				t.Errorf("action %d, %d resets, want Envoy's answer to pass", x.action, x.resets)
			}
			x.end(byClient)
		})
	}
}

// Etcd stops to answer while many requests wait. All go on, in as many callbacks as they need.
func TestManyVerdicts(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", inFleet))
	w.silent = true
	var all []*exchange
	for range 600 {
		all = append(all, w.ask(string(rune('a'+len(all)))))
	}
	w.fail(1)
	e.run()
	for _, x := range all {
		if x.waits {
			t.Fatalf("request %d waits for ever", x.id)
		}
	}
	if n := len(w.worker.fleet.calls); n > 0 {
		t.Errorf("%d calls are remembered, want none", n)
	}
}

// A stream is newer than those of its client that were given a stamp before, and are not in the
// registry yet: more verdicts came at once than one callback carries out.
func TestStampsGrowBeforeTheRegistryHasThem(t *testing.T) {
	w := newEdge(t).worker(configured(`"claim_at": "request", "max_streams": 3`, inFleet))
	w.silent = true
	for i := range registry.EndsPerCall {
		w.ask(fmt.Sprint("client ", i))
	}
	w.ask("alice")
	w.ask("alice")
	w.fail(1)
	waiting := w.worker.fleet.verdicts
	if len(waiting) != 2 {
		t.Fatalf("%d verdicts wait, want alice's two", len(waiting))
	}
	third := w.ask("alice")
	if a, b, c := waiting[0].Stamp, waiting[1].Stamp, fleet.Stamp(third.stream.place.Stamp); a >= b || b >= c {
		t.Errorf("stamps %d, %d and %d, want them to grow", a, b, c)
	}
}

// A call that fails in the callback of one stream decides about others, too. They go on in another
// callback.
func TestVerdictsAreNotForCallbacksOfStreams(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", inFleet))
	w.silent = true
	first := w.ask("alice")
	w.silent = false
	if second := w.ask("bob"); second.waits || !first.waits {
		t.Fatalf("waits %v and %v, want the first request alone", first.waits, second.waits)
	}
	e.run()
	if first.waits {
		t.Error("the first request waits for ever")
	}
}

// The fleet knows no limit of one Envoy.
func TestTotalInFleet(t *testing.T) {
	e := newEdge(t)
	more := inFleet + `, "max_total_streams": 1`
	e.worker(configured("", more)).open("alice")
	for _, at := range []string{"request", "response"} {
		w := e.worker(configured(`"claim_at": "`+at+`"`, more))
		w.silent = true
		if x := w.ask("bob"); x.reply == nil || x.reason != "refused_overloaded" {
			t.Errorf("claim_at %s: reply %v, reason %q, want it refused as overloaded", at, x.reply, x.reason)
		}
		x := w.send(get.with("x-client-id", "carol", "accept", "*/*", ":method", "HEAD"))
		if x.answer(eventStream); x.reply == nil || x.reason != "refused_overloaded" {
			t.Errorf("claim_at %s, at the response: reply %v, reason %q, want it refused as overloaded", at, x.reply, x.reason)
		}
	}
}

// Streams that wait for etcd count, also at other workers. One that goes gives its place back.
func TestTotalCountsWhoWaits(t *testing.T) {
	for _, at := range []string{"request", "response"} {
		t.Run(at, func(t *testing.T) {
			e := newEdge(t)
			config := configured(`"claim_at": "`+at+`"`, inFleet+`, "max_total_streams": 3`)
			a, b := e.worker(config), e.worker(config)
			a.silent, b.silent = true, true
			waits := func(w *fakeHost, client string, want bool) *exchange {
				t.Helper()
				x := w.ask(client)
				if x.waits != want {
					t.Fatalf("%s waits: %v, reason %q, want %v", client, x.waits, x.reason, want)
				}
				return x
			}
			waiting := []*exchange{waits(a, "alice", true), waits(a, "bob", true), waits(b, "carol", true)}
			waits(a, "dan", false)
			waits(b, "dean", false)
			waiting[1].end(byClient)
			waiting[1] = waits(b, "erin", true)
			waits(a, "dirk", false)
			a.fail(1)
			b.fail(1)
			e.run()
			for _, x := range waiting {
				if x.waits || x.reply != nil {
					t.Fatalf("request %d waits: %v, reply %v, want it let in", x.id, x.waits, x.reply)
				}
				x.answer(eventStream)
			}
			waits(a, "dora", false)
			waiting[0].end(byClient)
			if x := a.ask("fred"); x.reply != nil {
				t.Errorf("with a free place fred is refused: %v", x.reply)
			}
		})
	}
}

// A request that is refused gives its place back at once, also while it is held.
func TestTotalForgetsWhoIsHeld(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(`"claim_at": "request", "on_unavailable": "refuse"`, inFleet+`, "max_total_streams": 1`))
	if x := w.ask("alice"); x.reason != "refused_unavailable" {
		t.Fatalf("reason %q, want it refused as unavailable", x.reason)
	}
	if x := w.ask("alice"); !x.waits || x.reason != "" {
		t.Fatalf("waits: %v, reason %q, want it held", x.waits, x.reason)
	}
	if x := w.ask("bob"); x.reason != "refused_unavailable" {
		t.Errorf("the next one: reason %q, want it refused as unavailable", x.reason)
	}
}

// A worker with many streams has several members. Those that it needs no more leave.
func TestMembersRetire(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", inFleet))
	var all []*exchange
	for i := range fleet.MostStreams + 10 {
		all = append(all, w.open(fmt.Sprint("client ", i)))
	}
	members := func(want int) {
		t.Helper()
		e.advance(1)
		if got := len(w.worker.fleet.members); got != want {
			t.Errorf("%d members, want %d", got, want)
		}
	}
	members(2)
	leave := func(from, to int) {
		for _, x := range all[from:to] {
			x.end(byClient)
		}
	}
	leave(fleet.MostStreams, len(all))
	members(2) // the first is nearly full
	leave(0, fleet.MostStreams/2-1)
	members(2)
	leave(fleet.MostStreams/2-1, fleet.MostStreams/2)
	members(1)
	leave(fleet.MostStreams/2, fleet.MostStreams)
	members(1)
	w.open("the next")
	w.knows(1)
}

// A member that has retired is not asked any more: not for a request that was held meanwhile, and
// not for a response that came late.
func TestRetiredIsNotAsked(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(`"on_unavailable": "refuse"`, inFleet))
	w.ask("alice") // refused
	held := w.ask("alice")
	late := w.send(get.with("x-client-id", "bob", "accept", "*/*"))
	if !held.waits || late.waits {
		t.Fatalf("waits: %v and %v, want only the first", held.waits, late.waits)
	}
	spare := w.worker.fleet.members
	w.worker.fleet.members = nil // as they have retired
	w.advance(2)
	late.answer(eventStream)
	for _, m := range spare {
		if m.Streams().All > 0 || len(m.calls) > 0 {
			t.Errorf("a retired member has streams %+v, and %d calls", m.Streams(), len(m.calls))
		}
	}
	if n := len(w.worker.fleet.members); n != 1 || held.reply == nil || late.reply == nil {
		t.Errorf("%d members, replies %v and %v, want one that was asked by both", n, held.reply, late.reply)
	}
}

// A request that waits for its backend may have come when there was another member. It claims with
// one that is still there, and has room.
func TestClaimsWithAMemberThatStays(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", inFleet))
	call := get.with(":method", "POST", "x-client-id", "patient")
	early := w.send(call)
	var all []*exchange
	for i := range fleet.MostStreams {
		all = append(all, w.open(fmt.Sprint("client ", i)))
	}
	late := w.send(call)
	early.answer(eventStream)
	all = append(all, early, w.open("one more"))
	for _, m := range w.worker.fleet.members {
		if n := m.Streams().All; n > fleet.MostStreams {
			t.Errorf("a member has %d streams, want at most %d", n, fleet.MostStreams)
		}
	}
	for _, x := range all {
		x.end(byClient)
	}
	e.advance(1)
	late.answer(eventStream)
	w.knows(1)
}
