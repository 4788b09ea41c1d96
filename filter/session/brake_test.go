//go:build !wasip1

package session

import (
	"fmt"
	"strings"
	"testing"
)

// refusing is a rule in which alice's second stream is refused, and told to wait for 15 seconds or
// a little more.
const refusing = `"on_duplicate": "reject_new"`

// Whoever comes back too early waits before it is refused again.
func TestEarlyClientsAreHeld(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(refusing, ""))
	w.open("alice")
	if x := w.ask("alice"); x.reply == nil {
		t.Fatal("the first refusal is held")
	}
	early := w.ask("alice")
	if !early.waits {
		t.Fatal("a client that comes back at once is not held")
	}
	if got := early.stream.RequestBody(1, false); got != Pause {
		t.Error("the body of a held request passes, and the request with it")
	}
	for n := range mostHeldEach {
		if x := w.ask("alice"); x.waits != (n < mostHeldEach-1) {
			t.Fatalf("with %d requests held, the next one is held: %v", n+1, x.waits)
		}
	}
	e.now += heldMs - 1
	w.tickNow()
	if !early.waits {
		t.Error("the request is held for less than a second")
	}
	e.now++
	w.tickNow()
	if early.waits || early.reply == nil || early.reply.status != 409 || early.reason != "refused_duplicate" {
		t.Errorf("after a second: waits %v, reply %v, reason %q, want a refusal", early.waits, early.reply, early.reason)
	}
	e.counted(map[string]int64{"events.refused_duplicate": mostHeldEach + 2})
	if x := w.ask("alice"); !x.waits {
		t.Error("the next one is not held")
	}
}

// Who waits as it was told is not held; nor is another client, another instance, or a rule that
// only observes.
func TestOthersAreNotHeld(t *testing.T) {
	tabs := refusing + `, "instance": [{"header": "x-tab"}]`
	for _, c := range []struct {
		name, rule string
		after      int64
		client     string
		more       []string
	}{
		{"after its wait", tabs, 20_000, "alice", []string{"x-tab", "2"}},
		{"another client", tabs, 0, "bob", []string{"x-tab", "2"}},
		{"another instance", tabs, 0, "alice", []string{"x-tab", "3"}},
		{"an unknown instance", tabs, 0, "alice", nil},
		{"a rule that observes", tabs + `, "mode": "observe"`, 0, "alice", []string{"x-tab", "2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(c.rule, ""))
			w.open("alice", "x-tab", "1")
			w.open("bob", "x-tab", "1")
			w.ask("alice", "x-tab", "2")
			for range c.after / 1000 {
				e.now += 1000
				w.tickNow()
			}
			if x := w.ask(c.client, c.more...); x.waits {
				t.Error("the request is held")
			}
		})
	}
}

// When the wait is over, a request is let in if there is room by then, whenever its rule claims.
func TestHeldRequestsAreLetIn(t *testing.T) {
	for _, claimAt := range []string{"request", "response"} {
		t.Run(claimAt, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(refusing+`, "claim_at": "`+claimAt+`"`, ""))
			old := w.open("alice")
			w.ask("alice")
			early := w.ask("alice")
			if !early.waits {
				t.Fatal("the request is not held")
			}
			old.end(byClient)
			e.now += heldMs
			w.tickNow()
			if early.waits || early.reply != nil {
				t.Fatalf("waits %v, reply %v, want it to go on", early.waits, early.reply)
			}
			early.answer(eventStream)
			e.counted(map[string]int64{"events.opened": 2, "events.active": 1, "events.refused_duplicate": 1})
		})
	}
}

// A held request that ends, or that Envoy has forgotten, makes room for the next.
func TestHeldRequestsEnd(t *testing.T) {
	for name, end := range map[string]func(e *edge, w *fakeHost, x *exchange){
		"the client gives up": func(_ *edge, _ *fakeHost, x *exchange) { x.end(byClient) },
		"nobody tells": func(e *edge, w *fakeHost, x *exchange) {
			x.vanish()
			e.now += heldMs
			w.tickNow()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(refusing, ""))
			w.open("alice")
			w.ask("alice")
			early := w.ask("alice")
			end(e, w, early)
			if early.stream.phase != done {
				t.Errorf("the request is %v, want it done", early.stream.phase)
			}
			if x := w.ask("alice"); !x.waits {
				t.Error("the next one is not held")
			}
			e.counted(map[string]int64{"events.refused_duplicate": 1})
		})
	}
}

// Many clients that come back at once do not take the brake from each other: all are held.
func TestManyEarlyClientsAreHeld(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(refusing, ""))
	const many = brakeSlots / 4
	for i := range many {
		w.open(fmt.Sprint("client ", i))
		w.ask(fmt.Sprint("client ", i))
	}
	for i := range many {
		if x := w.ask(fmt.Sprint("client ", i)); !x.waits {
			t.Errorf("the request of client %d is not held", i)
		}
	}
}

// However many clients come back too early, a worker holds a bounded number of their requests, and
// each of the others has its answer at once.
func TestHeldRequestsAreBounded(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(refusing, ""))
	const many = 3 * brakeSlots
	var early []*exchange
	for i := range many {
		client := fmt.Sprint("client ", i)
		w.open(client)
		w.ask(client)
		early = append(early, w.ask(client), w.ask(client))
	}
	n := 0
	for _, x := range early {
		if x.waits == (x.reply != nil) {
			t.Fatalf("a request waits: %v, reply %v, want one of both", x.waits, x.reply)
		}
		if x.waits {
			n++
		}
	}
	if n < mostHeld/2 || n > mostHeld {
		t.Errorf("%d requests are held, want many and at most %d", n, mostHeld)
	}
	e.now += heldMs
	w.tickNow()
	e.run()
	for _, x := range early {
		if x.reply == nil {
			t.Fatal("a held request has no answer when its time is over")
		}
	}
	if w.worker.brake.held != 0 {
		t.Errorf("the brake still counts %d held requests", w.worker.brake.held)
	}
}

// The refusal of a held request, too, tells an EventSource its place in the stream.
func TestRefusalsTellTheLastEventID(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(`"instance": [{"header": "x-tab"}]`, ""))
	w.open("alice", "x-tab", "1")
	w.open("alice", "x-tab", "2")
	e.run()
	first := w.ask("alice", "x-tab", "1", "last-event-id", "41")
	early := w.ask("alice", "x-tab", "1", "last-event-id", "42")
	e.now += heldMs
	w.tickNow()
	for x, want := range map[*exchange]string{first: "id: 41\n", early: "id: 42\n"} {
		if x.reply == nil || !strings.HasPrefix(x.reply.body, want) {
			t.Errorf("reply %v, want a body that begins with %q", x.reply, want)
		}
	}
}
