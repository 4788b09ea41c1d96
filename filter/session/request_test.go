//go:build !wasip1

package session

import (
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/registry"
)

// configured is a configuration with one rule, events, whose client is a header. rule and more hold
// other members of the rule and of the configuration.
func configured(rule, more string) string {
	return `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}]` + and(rule) + `}]` + and(more) + `}`
}

func and(members string) string {
	if members == "" {
		return ""
	}
	return ", " + members
}

// The filter keeps nothing of a request that no rule matches, or that has no key, and takes no slot
// for it: Envoy starts plugins that never see a stream.
func TestRequestsThatPass(t *testing.T) {
	for _, c := range []struct {
		name    string
		request fields
		noKey   int64
	}{
		{"no rule", get.with(":path", "/other", "x-client-id", "alice"), 0},
		{"no key", get, 1},
		{"an empty key", get.with("x-client-id", ""), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(`"match": {"path": {"exact": "/events"}}`, ""))
			x := w.send(c.request)
			if x.action != Continue || x.stream != nil {
				t.Errorf("action %d, stream %v, want it to pass untracked", x.action, x.stream)
			}
			if w.period != 0 || len(e.queues) != 0 {
				t.Error("the worker has taken a slot")
			}
			e.counted(map[string]int64{"events.no_key": c.noKey})
		})
	}
}

// A raw key may be a session cookie. It is gone from the worker's memory when the request's
// callback returns, whichever way that went. The buffer is used again, but not for ever if one key
// was huge.
func TestRawKeysAreForgotten(t *testing.T) {
	rule := `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}, {"header": "x-device"}], "instance": [{"header": "x-tab"}]}]}`
	secret := strings.Repeat("secret", 20)
	for _, c := range []struct {
		name    string
		more    []string
		fails   string
		tracked bool
		kept    bool
	}{
		{"a key", []string{"x-device", "phone"}, "", true, true},
		{"a key and an instance", []string{"x-device", "phone", "x-tab", secret}, "", true, true},
		{"half a key", nil, "", false, true},
		{"a key, but no slot", []string{"x-device", "phone"}, "register", false, true},
		{"a huge key", []string{"x-device", strings.Repeat("phone", 1000)}, "", true, false},
		{"a huge part of a key", []string{"x-client-id", strings.Repeat("phone", 1000)}, "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(rule)
			w.worker.key = make([]byte, 0, 512)
			before := w.worker.key[:512]
			e.breaks(c.fails, "", errBroken)
			x := w.ask(secret, c.more...)
			if tracked := x.stream != nil; tracked != c.tracked || x.action != Continue {
				t.Fatalf("tracked %v, action %d, want tracked %v and to continue", tracked, x.action, c.tracked)
			}
			now := w.worker.key[:cap(w.worker.key)]
			if kept := len(now) > 0; kept != c.kept {
				t.Errorf("a buffer of %d bytes is kept, want a buffer: %v", len(now), c.kept)
			}
			for _, b := range [][]byte{now, before} {
				if c.kept && slices.ContainsFunc(b, func(b byte) bool { return b != 0 }) {
					t.Errorf("bytes of the key are left: %q", b)
				}
			}
			r := &w.worker.reading
			if all := r.all[:cap(r.all)]; r.first != (header{}) || slices.ContainsFunc(all, func(h [2]string) bool { return h != [2]string{} }) {
				t.Errorf("headers are left: %v, %v", r.first, all)
			}
		})
	}
}

// A request is paused only if a stream that yields to it must be gone before the backend sees it.
func TestWhoWaits(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		old        bool // the client has a stream
		waits      bool
	}{
		{"claim at the request", `"claim_at": "request"`, true, true},
		{"nobody to wait for", `"claim_at": "request"`, false, false},
		{"room for both", `"claim_at": "request", "max_streams": 2`, true, false},
		{"the old one may say goodbye for long", `"claim_at": "request", "goodbye_grace": "5s"`, true, false},
		{"a rule that observes", `"claim_at": "request", "mode": "observe"`, true, false},
		{"claim at the response", ``, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			a, b := e.worker(configured(c.rule, "")), e.worker(configured(c.rule, ""))
			if c.old {
				a.open("alice")
			}
			x := b.ask("alice")
			if x.waits != c.waits {
				t.Fatalf("the request waits: %v, want %v", x.waits, c.waits)
			}
			e.run()
			if x.waits {
				t.Error("the request still waits when the old stream has ended")
			}
		})
	}
}

// If the owner of the old stream says nothing, the wait ends after a second. A timer that is over
// because the answer came first does nothing.
func TestWaits(t *testing.T) {
	config := configured(`"claim_at": "request"`, "")
	start := func(t *testing.T) (e *edge, b *fakeHost, old, fresh *exchange) {
		e = newEdge(t)
		a, b := e.worker(config), e.worker(config)
		old, fresh = a.open("alice"), b.ask("alice")
		if !fresh.waits {
			t.Fatal("the request does not wait")
		}
		return e, b, old, fresh
	}
	t.Run("the message is lost", func(t *testing.T) {
		e, b, _, fresh := start(t)
		e.loseMessages()
		e.now += mostWaitMs - 1
		b.tickNow()
		if !fresh.waits {
			t.Fatal("the request goes on before a second is over")
		}
		e.now++
		b.tickNow()
		if fresh.waits {
			t.Fatal("the request still waits after a second")
		}
		fresh.answer(eventStream)
		e.counted(map[string]int64{"events.opened": 2, "events.active": 1})
	})
	t.Run("the answer comes in time", func(t *testing.T) {
		e, b, old, fresh := start(t)
		e.run() // check holds the worker to have no timer left
		fresh.answer(eventStream)
		e.now += mostWaitMs
		b.tickNow()
		if old.ended != byReset || fresh.ended != "" || fresh.stream.phase != open {
			t.Errorf("old %q, fresh %q and %v, want the old one reset and the fresh one open", old.ended, fresh.ended, fresh.stream.phase)
		}
	})
	t.Run("the client gives up", func(t *testing.T) {
		e, _, _, fresh := start(t)
		fresh.end(byClient)
		e.run()
		e.counted(map[string]int64{"events.active": 0, "events.released": 0, "events.superseded": 1})
	})
	t.Run("the client gives up, and nobody tells", func(t *testing.T) {
		e, _, _, fresh := start(t)
		fresh.vanish()
		e.run()
		if fresh.stream.phase != done {
			t.Errorf("the request is %v, want it done", fresh.stream.phase)
		}
		e.counted(map[string]int64{"events.active": 0})
		if found := e.lines("warn"); found != nil {
			t.Errorf("the log says %q", found)
		}
	})
	t.Run("superseded while it waits", func(t *testing.T) {
		e, b, _, fresh := start(t)
		newest := b.ask("alice")
		e.run()
		if fresh.ended != byReset || fresh.reason != "superseded" || newest.ended != "" || newest.waits {
			t.Errorf("fresh %q %q, newest %q, waits %v", fresh.ended, fresh.reason, newest.ended, newest.waits)
		}
	})
}

// A request whose response cannot be an event stream claims nothing before the backend has
// answered.
func TestWhatClaimsAtTheRequest(t *testing.T) {
	for _, c := range []struct {
		method string
		more   []string
		ends   bool // the old stream
	}{
		{"GET", nil, true},
		{"POST", nil, true},
		{"HEAD", nil, false},
		{"OPTIONS", nil, false},
		{"CONNECT", nil, false},
		{"TRACE", nil, false},
		{"GET", []string{"upgrade", "websocket"}, false},
	} {
		t.Run(strings.Join(append([]string{c.method}, c.more...), " "), func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(`"claim_at": "request"`, ""))
			old := w.open("alice")
			w.ask("alice", append(c.more, ":method", c.method)...)
			e.run()
			if ended := old.ended == byReset; ended != c.ends {
				t.Errorf("the old stream is ended: %v, want %v", ended, c.ends)
			}
		})
	}
}

// A place that was claimed at the request is given back if the response is no event stream.
func TestClaimForNothing(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(`"claim_at": "request"`, ""))
	x := w.ask("alice")
	e.counted(map[string]int64{"events.active": 1})
	x.answer(fields{":status": "401"})
	e.counted(map[string]int64{"events.active": 0, "events.opened": 0})
	x.send("no", true)
	x.end(byClient)
	e.counted(map[string]int64{"events.released": 0})
	if got := e.records["streamlatch.events.duration_ms"]; got != nil {
		t.Errorf("durations %d are recorded, want none", got)
	}
}

// What a refused client gets, and when: a GET for a stream before the backend has any work, all
// else when the backend has answered with a stream.
func TestRefusals(t *testing.T) {
	const reject = `"on_duplicate": "reject_new", "retry": "8s"`
	for _, c := range []struct {
		name, rule, more string
		request          []string
		early            bool // before the backend sees the request
		random           uint64
		status           uint32
		reason           string
		retry            string // in the header or the body
		logged           string // the wait, with a random part of up to a quarter
	}{
		{"duplicate", reject, "", nil,
			true, 1000, 409, "duplicate", "9", "9000"},
		{"duplicate POST", reject, "", []string{":method", "POST"},
			false, 2000, 409, "duplicate", "10", "10000"},
		{"duplicate, claimed at the request", reject + `, "claim_at": "request"`, "", []string{":method", "POST"},
			true, 2001, 409, "duplicate", "8", "8000"},
		{"no token", `"takeover_limit": {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "20s"}`, "", []string{"x-client-id", "again"},
			true, 2500, 200, "takeover_limit", "retry: 22500\n", "22500"},
		{"full", `"retry": "15s"`, `"max_total_streams": 2`, []string{"x-client-id", "carol"},
			true, 1875, 200, "overloaded", "retry: 16875\n", "16875"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(c.rule, c.more))
			w.open("alice")
			w.open("again")
			if c.reason == "takeover_limit" {
				w.open("again")
				e.run()
			}
			e.random = func() uint64 { return c.random }
			x := w.ask("alice", c.request...)
			if early := x.reply != nil; early != c.early {
				t.Fatalf("refused at the request: %v, want %v", early, c.early)
			}
			if !c.early {
				x.answer(eventStream)
			}
			if x.reply == nil || x.action != Pause {
				t.Fatalf("reply %v, action %d, want a reply and a pause", x.reply, x.action)
			}
			if x.reply.status != c.status || !strings.Contains(x.reply.headers["retry-after"]+x.reply.body, c.retry) || !strings.Contains(x.reply.body, c.reason) {
				t.Errorf("answered %+v, want %d, %q and %q", *x.reply, c.status, c.reason, c.retry)
			}
			if x.reason != "refused_"+c.reason {
				t.Errorf("reason %q", x.reason)
			}
			want := "reason=" + c.reason + " retry_ms=" + c.logged + " mode=enforce"
			if got := e.lines("info refused"); len(got) != 1 || !strings.Contains(got[0], want) {
				t.Errorf("the log says %q, want %q", got, want)
			}
			e.counted(map[string]int64{"events.refused_" + c.reason: 1, "events.active": 2})
		})
	}
}

// A rule that observes counts a refusal and lets the request pass, and so does one whose refusal
// Envoy does not take. The request is then nobody's stream.
func TestRefusalsThatPass(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		broken     string
		reason     string
	}{
		{"observe", `, "mode": "observe"`, "", ""},
		{"no reply", ``, "reply", "refused_duplicate"},
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(c.name+" "+method, func(t *testing.T) {
				e := newEdge(t)
				w := e.worker(configured(`"on_duplicate": "reject_new"`+c.rule, ""))
				w.open("alice")
				e.breaks(c.broken, "", errBroken)
				x := w.open("alice", ":method", method)
				if x.action != Continue || x.reply != nil || x.reason != c.reason {
					t.Errorf("action %d, reply %v, reason %q", x.action, x.reply, x.reason)
				}
				x.end(byClient)
				e.counted(map[string]int64{"events.refused_duplicate": 1, "events.opened": 1, "events.active": 1, "events.released": 0})
			})
		}
	}
}

// A newcomer whose write keeps losing races comes in by default, and a tick finishes its claim.
// With on_contention: refuse it is refused.
func TestContention(t *testing.T) {
	for _, c := range []struct {
		name, more string
		refused    bool
	}{
		{"allow", "", false},
		{"refuse", `"on_contention": "refuse"`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured("", c.more))
			w.open("bob")
			e.breaks("set", "/b/", registry.ErrCasMismatch)
			x := w.open("alice", ":method", "POST")
			if refused := x.reply != nil; refused != c.refused {
				t.Fatalf("refused: %v, want %v", refused, c.refused)
			}
			if c.refused && (x.reply.status != 503 || x.reason != "refused_contended") {
				t.Errorf("answered %+v, reason %q", *x.reply, x.reason)
			}
			e.counted(map[string]int64{"contended": 1, "events.active": 1})
			e.mend()
			w.tick()
			active := map[bool]int64{false: 2, true: 1}[c.refused]
			e.counted(map[string]int64{"events.active": active, "events.refused_contended": 2 - active})
			if x.ended != "" {
				t.Errorf("the stream is ended: %s", x.ended)
			}
		})
	}
}

// What a worker needs to join fails. Requests pass untracked, the log says why, and the next
// request tries again.
func TestJoinFails(t *testing.T) {
	for _, c := range []struct{ call, about string }{
		{"set", "table"}, {"get", "/w/"}, {"register", ""}, {"ticks", ""}, {"get", "rules"}, {"set", "rules"},
	} {
		t.Run(c.call+" "+c.about, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured("", ""))
			e.breaks(c.call, c.about, errBroken)
			x := w.open("alice")
			if x.action != Continue || x.stream != nil {
				t.Fatalf("action %d, stream %v, want it to pass untracked", x.action, x.stream)
			}
			if got := e.lines("warn failed error="); len(got) != 1 || !strings.Contains(got[0], "broken") {
				t.Errorf("the log says %q", got)
			}
			e.mend()
			w.open("alice")
			e.counted(map[string]int64{"events.opened": 1, "events.active": 1})
			if w.period != tickPeriodMs {
				t.Errorf("ticks every %d ms, want %d", w.period, tickPeriodMs)
			}
		})
	}
}

// Whether a request has passed another filter is asked of the client's streams. A rule that only
// observes lets a client have any number of streams without a place, and each question is several
// calls out of the VM: those are not asked about.
func TestFewStreamsAreAskedAbout(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(`"mode": "observe", "takeover_limit": false`, ""))
	for range 100 {
		w.open("alice")
		e.run()
	}
	asked := 0
	w.same = func(uint32) bool { asked++; return false }
	w.ask("alice")
	if asked != 1 {
		t.Errorf("with 100 open streams and one place, %d are asked about, want 1", asked)
	}
}
