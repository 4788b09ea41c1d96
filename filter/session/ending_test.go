//go:build !wasip1

package session

import (
	"slices"
	"testing"
)

// A rule's limits end its streams, and say why. Bytes of the backend move the idle timeout.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		bytesAt    []int // seconds
		at         int   // the tick that ends the stream
		reason     string
	}{
		{"lifetime", `"max_lifetime": "5s", "lifetime_jitter_percent": 0`, nil, 5, "expired"},
		{"lifetime of a busy stream", `"max_lifetime": "5s", "lifetime_jitter_percent": 0`, []int{3, 4}, 5, "expired"},
		{"silence", `"idle_timeout": "3s"`, nil, 3, "idle"},
		{"bytes", `"idle_timeout": "3s"`, []int{1, 2}, 5, "idle"},
		{"silence first", `"idle_timeout": "3s", "max_lifetime": "6s", "lifetime_jitter_percent": 0`, []int{1}, 4, "idle"},
		{"lifetime first", `"idle_timeout": "3s", "max_lifetime": "5s", "lifetime_jitter_percent": 0`, []int{1, 3, 4}, 5, "expired"},
		{"both at once", `"idle_timeout": "3s", "max_lifetime": "3s", "lifetime_jitter_percent": 0`, nil, 3, "expired"},
		{"idle streams say no goodbye", `"idle_timeout": "3s", "goodbye_grace": "9s"`, nil, 3, "idle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(c.rule, ""))
			x := w.open("alice")
			for second := 1; second < c.at; second++ {
				e.advance(1)
				if x.ended != "" {
					t.Fatalf("ended after %d s: %s, want %d s", second, x.reason, c.at)
				}
				if slices.Contains(c.bytesAt, second) {
					x.send(":\n\n", false)
				}
			}
			e.advance(1)
			if x.ended != byReset || x.reason != c.reason {
				t.Errorf("%q, reason %q, want it reset as %s", x.ended, x.reason, c.reason)
			}
			e.counted(map[string]int64{"events." + c.reason: 1, "events.released": 0, "events.active": 0})
		})
	}
}

// The lifetime is cut by a random part of the jitter.
func TestLifetimeJitter(t *testing.T) {
	for _, c := range []struct {
		name    string
		random  uint64
		percent string
		want    int64 // milliseconds
	}{
		{"none drawn", 0, "25", 8000},
		{"all of it", 2000, "25", 6000},
		{"some", 1500, "25", 6500},
		{"one too many wraps", 2001, "25", 8000},
		{"no jitter", 1500, "0", 8000},
		{"the whole lifetime", 8000, "100", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(`"max_lifetime": "8s", "lifetime_jitter_percent": `+c.percent, ""))
			w.open("bob").end(byClient) // joins
			e.random = func() uint64 { return c.random }
			x := w.open("alice")
			e.now += c.want - 1
			w.tickNow()
			if x.ended != "" {
				t.Errorf("ended before %d ms", c.want)
			}
			e.now++
			w.tickNow()
			if x.ended != byReset {
				t.Errorf("not ended after %d ms", c.want)
			}
		})
	}
}

// In a rule that observes, a stream goes on beyond its limits and beyond a takeover. It gives its
// place back, counts what would have happened, and is then left alone.
func TestObserve(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		happens    func(e *edge, w *fakeHost)
		counted    string
		active     int64
	}{
		{"expired", `"max_lifetime": "2s"`, func(e *edge, _ *fakeHost) { e.advance(2) }, "events.expired", 0},
		{"idle", `"idle_timeout": "2s"`, func(e *edge, _ *fakeHost) { e.advance(2) }, "events.idle", 0},
		{"superseded", `"max_lifetime": "1h"`, func(e *edge, w *fakeHost) { w.open("alice"); e.run() }, "events.superseded", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			e.level = Debug
			w := e.worker(configured(`"mode": "observe", `+c.rule, ""))
			x := w.open("alice")
			c.happens(e, w)
			e.counted(map[string]int64{c.counted: 1, "events.active": c.active})
			x.send(":\n\n", false)
			e.advance(1)
			if x.ended != "" || x.reason != "" {
				t.Errorf("%q, reason %q, want it to go on", x.ended, x.reason)
			}
			x.end(byClient)
			e.counted(map[string]int64{c.counted: 1, "events.released": 0, "events.active": c.active})
			if n := len(e.records["streamlatch.events.duration_ms"]); n != 1 {
				t.Errorf("%d durations are recorded, want 1", n)
			}
		})
	}
	t.Run("superseded, and then expired", func(t *testing.T) {
		e := newEdge(t)
		w := e.worker(configured(`"mode": "observe", "max_lifetime": "3s", "lifetime_jitter_percent": 0`, ""))
		x := w.open("alice")
		e.advance(2)
		w.open("alice")
		e.run()
		e.advance(1)
		if x.stream.phase != observed {
			t.Errorf("the superseded stream is %v, want it observed", x.stream.phase)
		}
		e.counted(map[string]int64{"events.superseded": 1, "events.expired": 0})
	})
}

// Why the registry wants a stream ended decides the reason and the goodbye.
func TestReasons(t *testing.T) {
	for _, c := range []struct {
		name    string
		end     func(e *edge, a, b *fakeHost)
		reason  string
		goodbye bool
		counted map[string]int64
	}{
		{"a newer stream", func(e *edge, a, b *fakeHost) { b.open("alice"); e.run() },
			"superseded", true, map[string]int64{"events.superseded": 1, "lost_wakeups": 0}},
		{"a newer stream of its own page", func(e *edge, a, b *fakeHost) { b.open("alice", "x-tab", "1"); e.run() },
			"superseded", false, map[string]int64{"events.superseded": 1, "lost_wakeups": 0}},
		{"an operator", func(e *edge, a, b *fakeHost) { b.admin("DELETE", "/admin/streams/events/alice"); e.run() },
			"dismissed", false, map[string]int64{"events.dismissed": 1, "events.active": 0}},
		{"a takeover of which it never heard", func(e *edge, a, b *fakeHost) { b.open("alice"); e.loseMessages(); e.advance(2) },
			"unregistered", true, map[string]int64{"events.superseded": 1, "lost_wakeups": 1}},
		{"its lifetime", func(e *edge, a, b *fakeHost) { e.advance(60) },
			"expired", true, map[string]int64{"events.expired": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			config := configured(`"instance": [{"header": "x-tab"}], "goodbye_grace": "5s", "retry": "1s", "max_lifetime": "60s", "lifetime_jitter_percent": 0`,
				`"admin_path": "/admin"`)
			a, b := e.worker(config), e.worker(config)
			x := a.open("alice", "x-tab", "1")
			c.end(e, a, b)
			if c.goodbye {
				if x.ended != "" {
					t.Fatalf("ended at once: %s %s, want a goodbye", x.ended, x.reason)
				}
				want := ":\n\nretry: 1000\nevent: streamlatch\ndata: {\"reason\":\"" + c.reason + "\",\"retry_ms\":1000}\n\n"
				if c.reason == "expired" { // it may come back at once
					want = ":\n\nevent: streamlatch\ndata: {\"reason\":\"expired\"}\n\n"
				}
				e.random = func() uint64 { return 0 }
				if got := x.send(":\n\n", false); got != want {
					t.Errorf("%q passed, want %q", got, want)
				}
				e.run()
			}
			if x.ended != byReset || x.reason != c.reason {
				t.Errorf("%q, reason %q, want it reset as %s", x.ended, x.reason, c.reason)
			}
			e.counted(c.counted)
			e.counted(map[string]int64{"events.released": 0})
		})
	}
}

// A stream that is leaving because it expired is superseded before its goodbye. The goodbye then
// tells the client to wait.
func TestTheLastReasonCounts(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(`"goodbye_grace": "5s", "retry": "1s", "max_lifetime": "2s", "lifetime_jitter_percent": 0`, ""))
	x := w.open("alice")
	e.advance(2)
	w.open("alice")
	e.run()
	e.random = func() uint64 { return 250 }
	want := ":\n\nretry: 1250\nevent: streamlatch\ndata: {\"reason\":\"superseded\",\"retry_ms\":1250}\n\n"
	if got := x.send(":\n\n", false); got != want {
		t.Errorf("%q passed, want %q", got, want)
	}
	e.run()
	if x.ended != byReset || x.reason != "superseded" {
		t.Errorf("%q, reason %q", x.ended, x.reason)
	}
	e.counted(map[string]int64{"events.expired": 1, "events.superseded": 1})
}

// A claim that a tick finished is refused. The stream has been open since, and ends.
func TestRefusedByATick(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(`"on_duplicate": "reject_new"`, ""))
	w.open("bob")
	x := w.openContended("alice")
	w.open("alice", ":method", "POST")
	e.advance(1)
	if x.ended != byReset || x.reason != "refused_duplicate" {
		t.Errorf("%q, reason %q", x.ended, x.reason)
	}
	e.counted(map[string]int64{"events.refused_duplicate": 1, "events.active": 2})
}

// A late claim that a tick finished supersedes like others.
func TestSupersededByATick(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", ""))
	old := w.open("alice")
	late := w.openContended("alice")
	e.now += 500
	w.tick()
	e.run()
	if old.ended != byReset || old.reason != "superseded" || late.ended != "" {
		t.Errorf("old %q %q, late %q", old.ended, old.reason, late.ended)
	}
	e.counted(map[string]int64{"events.superseded": 1, "events.active": 1})
	if ages := e.records["streamlatch.events.superseded_age_ms"]; !slices.Equal(ages, []uint64{1500}) {
		t.Errorf("ages %d, want 1500", ages)
	}
}

// Envoy refuses to reset a stream. Nobody tries again, whatever comes for the stream: it could end
// the VM to reset one twice. Its timer is gone.
func TestResetFails(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		open       func(*fakeHost) *exchange
		before     func(e *edge, x *exchange) // the reset
		after      func(x *exchange)
	}{
		{"open", `"max_lifetime": "1h"`, func(w *fakeHost) *exchange { return w.open("alice") },
			nil, func(x *exchange) { x.send(":\n\n", false) }},
		{"no response yet", `"claim_at": "request"`, func(w *fakeHost) *exchange { return w.ask("alice") },
			nil, func(x *exchange) { x.answer(eventStream) }},
		{"its recall comes late", saysGoodbye, func(w *fakeHost) *exchange { return w.open("alice") },
			func(e *edge, x *exchange) {
				e.run()
				x.send(":\n\n", false)
				e.now += 5000
				recall := e.queues[0].messages
				e.queues[0].messages = nil
				x.host.tickNow()
				e.queues[0].messages = recall
			}, func(*exchange) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(c.rule, ""))
			x := c.open(w)
			if newer := w.ask("alice"); !newer.waits {
				newer.answer(eventStream)
			}
			e.breaks("reset", "", errBroken)
			if c.before != nil {
				c.before(e, x)
			} else {
				e.run() // check looks at the timers
			}
			if x.ended != "" || x.stream.phase != resetting || e.lines("warn failed") == nil {
				t.Fatalf("%q, %v, log %q", x.ended, x.stream.phase, e.log)
			}
			opened := e.values["streamlatch.events.opened"]
			e.mend()
			c.after(x)
			e.advance(20)
			if x.resets != 0 || x.stream.phase != resetting {
				t.Errorf("%d resets, %v, want none and resetting", x.resets, x.stream.phase)
			}
			x.end(byClient)
			e.counted(map[string]int64{"events.opened": opened, "events.active": 1, "events.released": 0})
		})
	}
}

// A stream that ended without a word is superseded: its end is noticed when it is to be reset.
func TestTakeoverOfAForgottenStream(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(`"max_lifetime": "1h"`, ""))
	x := w.open("alice")
	x.vanish()
	w.open("alice")
	e.run()
	if x.resets > 0 || x.stream.phase != done {
		t.Errorf("%d resets, %v, want none and done", x.resets, x.stream.phase)
	}
	e.counted(map[string]int64{"events.superseded": 1, "events.active": 1, "events.released": 0})
	if found := e.lines("warn"); found != nil {
		t.Errorf("the log says %q", found)
	}
}
