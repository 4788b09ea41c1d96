//go:build !wasip1

package session

import (
	"slices"
	"strings"
	"testing"
)

// Only a 200 of media type text/event-stream with a body to come is a stream.
func TestWhatIsAStream(t *testing.T) {
	for _, c := range []struct {
		name     string
		response fields
		noBody   bool
		stream   bool
	}{
		{"event stream", eventStream, false, true},
		{"with a charset, in capitals", eventStream.with("content-type", "Text/Event-Stream ; charset=utf-8"), false, true},
		{"no body", eventStream, true, false},
		{"another status", eventStream.with(":status", "206"), false, false},
		{"JSON", eventStream.with("content-type", "application/json"), false, false},
		{"almost", eventStream.with("content-type", "text/event-streams"), false, false},
		{"no type", fields{":status": "200"}, false, false},
		{"another filter's refusal", eventStream.with("x-streamlatch-refused", "duplicate"), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured("", ""))
			old := w.open("alice")
			x := w.ask("alice")
			x.answerWith(c.response, c.noBody)
			e.run()
			if x.action != Continue {
				t.Errorf("action %d, want to continue", x.action)
			}
			if ended := old.ended == byReset; ended != c.stream {
				t.Errorf("the old stream is ended: %v, want %v", ended, c.stream)
			}
			e.now += 7
			x.end(byClient)
			if n := len(e.records["streamlatch.events.duration_ms"]); (n == 2) != c.stream {
				t.Errorf("%d durations are recorded", n)
			}
		})
	}
}

// Of a path that is too long for the rule's regex it is not known whether the rule matches. It is
// no way around the limit, and no fault of a request for something else.
func TestTooLongForARule(t *testing.T) {
	rule := `"match": {"path": {"regex": "/events/[a-z]*"}}`
	long := "/events/" + strings.Repeat("x", 2000)
	for _, c := range []struct {
		name, rule string
		request    []string
		response   fields
		refused    bool // the response is replaced
		counted    int64
	}{
		{"event stream", rule, nil, eventStream, true, 1},
		{"event stream, without a key", rule, []string{"x-client-id", ""}, eventStream, true, 1},
		{"event stream for a POST", rule, []string{":method", "POST", "accept", "application/json"}, eventStream, true, 1},
		{"claimed at the request", rule + `, "claim_at": "request"`, nil, eventStream, true, 1},
		{"the rule observes", rule + `, "mode": "observe"`, nil, eventStream, false, 1},
		{"something else", rule, nil, fields{":status": "200", "content-type": "text/html"}, false, 0},
		{"an error", rule, nil, fields{":status": "404"}, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(c.rule, ""))
			keys := len(e.data) // of what was logged and configured
			x := w.ask("alice", append([]string{":path", long}, c.request...)...)
			if x.action != Continue || x.reply != nil {
				t.Fatalf("the request: action %d, reply %v, want it to go on", x.action, x.reply)
			}
			x.answer(c.response)
			if refused := x.reply != nil && x.action == Pause; refused != c.refused {
				t.Fatalf("the response: action %d, reply %v, want it refused: %v", x.action, x.reply, c.refused)
			}
			if c.refused && (x.reply.status != 431 || x.reason != "refused_too_long") {
				t.Errorf("status %d, reason %q", x.reply.status, x.reason)
			}
			if err := x.stream.Check(); err != nil {
				t.Error(err)
			}
			x.end(byClient)
			e.counted(map[string]int64{"events.refused_too_long": c.counted, "events.opened": 0, "events.active": 0, "events.no_key": 0})
			if len(e.data) > keys {
				t.Errorf("%d keys are stored, want none for a request that has no place", len(e.data)-keys)
			}
		})
	}
}

// The metrics of a stream's life, for each way in which it can end.
func TestWhatALifeCounts(t *testing.T) {
	const ages = "streamlatch.events.superseded_age_ms"
	const durations = "streamlatch.events.duration_ms"
	e := newEdge(t)
	w := e.worker(configured("", ""))
	first := w.open("alice")
	e.counted(map[string]int64{"events.opened": 1, "events.active": 1, "events.superseded": 0})
	e.now += 40
	second := w.open("alice")
	e.run()
	e.counted(map[string]int64{"events.opened": 2, "events.active": 1, "events.superseded": 1, "events.released": 0})
	if first.ended != byReset || first.reason != "superseded" || second.reason != "" {
		t.Errorf("first %q %q, second %q", first.ended, first.reason, second.reason)
	}
	e.now += 2
	second.end(byClient)
	second.stream.End() // a second on_log does nothing
	e.counted(map[string]int64{"events.active": 0, "events.released": 1})
	if got := e.records[ages]; !slices.Equal(got, []uint64{40}) {
		t.Errorf("ages of superseded streams %d, want 40", got)
	}
	if got := e.records[durations]; !slices.Equal(got, []uint64{40, 2}) {
		t.Errorf("durations %d, want 40 and 2", got)
	}
	if found := e.lines("warn"); found != nil {
		t.Errorf("the log says %q", found)
	}
}

// The store fails while a stream ends. Whether it held its place to the end is known, and counted,
// when a tick has finished the release.
func TestReleasedByATick(t *testing.T) {
	for _, c := range []struct {
		name      string
		open      func(*fakeHost) *exchange
		released  int64
		durations int
	}{
		{"an event stream", func(w *fakeHost) *exchange { return w.open("alice") }, 1, 1},
		{"no stream yet", func(w *fakeHost) *exchange { return w.ask("alice") }, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(`"claim_at": "request"`, ""))
			x := c.open(w)
			e.breaks("set", "/b/", errBroken)
			x.end(byClient)
			e.counted(map[string]int64{"events.released": 0, "events.active": 1})
			w.tick()
			e.mend()
			w.tick()
			w.tick()
			e.counted(map[string]int64{"events.released": c.released, "events.active": 0})
			if n := len(e.records["streamlatch.events.duration_ms"]); n != c.durations {
				t.Errorf("%d durations are recorded, want %d", n, c.durations)
			}
			if x.stream.phase != done {
				t.Errorf("the stream is %v, want it done", x.stream.phase)
			}
		})
	}
}

const saysGoodbye = `"goodbye_grace": "5s", "retry": "10s"`

// parting returns a stream that has been superseded and is to say goodbye.
func parting(t *testing.T, rule string, response fields, before ...string) (e *edge, w *fakeHost, old *exchange) {
	t.Helper()
	e = newEdge(t)
	w = e.worker(configured(rule, ""))
	old = w.ask("alice")
	old.answer(response)
	for _, chunk := range before {
		old.send(chunk, false)
	}
	w.open("alice")
	e.run()
	e.random = func() uint64 { return 1234 }
	return e, w, old
}

const goodbyeWords = "retry: 11234\nevent: streamlatch\ndata: {\"reason\":\"superseded\",\"retry_ms\":11234}\n\n"

// A goodbye follows the backend's next whole event. The bytes after it do not pass, and the next
// callback resets the stream.
func TestGoodbye(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []string
		chunks []string // after the takeover
		at     int      // the chunk that the goodbye follows
	}{
		{"a whole event", []string{"data: 1\n\n"}, []string{"data: 2\n\n", "data: 3\n\n"}, 0},
		{"an event in two parts", nil, []string{"data: 2", "\n\n", "data: 3\n\n"}, 1},
		{"its last byte alone", []string{"data: 1\n"}, []string{"\n", "data: 2\n\n"}, 0},
		{"single bytes", []string{"data: 1"}, []string{"\r", "\n", "\r", "\n", ":"}, 2},
		{"an empty part", []string{"data: 1\n\n"}, []string{"", "data: 2\n\n"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, _, old := parting(t, saysGoodbye, eventStream, c.before...)
			for i, chunk := range c.chunks {
				want := chunk
				switch {
				case i == c.at:
					want += goodbyeWords
				case i > c.at:
					want = ""
				}
				if got := old.send(chunk, false); got != want {
					t.Fatalf("chunk %d: %q passed, want %q", i, got, want)
				}
			}
			if old.ended != "" {
				t.Fatal("the stream is reset in the callback that writes the goodbye: the bytes are lost")
			}
			e.run()
			if old.ended != byReset || old.reason != "superseded" {
				t.Errorf("ended %q, reason %q", old.ended, old.reason)
			}
			if len(old.stream.goodbye().tail) > 4 {
				t.Errorf("%d bytes of the stream are kept, want 4 at most", len(old.stream.goodbye().tail))
			}
		})
	}
}

// The backend's last chunk takes no goodbye: the stream ends in good order by itself. After a
// goodbye even the last chunk is dropped.
func TestLastChunk(t *testing.T) {
	t.Run("before the goodbye", func(t *testing.T) {
		_, _, old := parting(t, saysGoodbye, eventStream)
		if got := old.send("data: 2\n\n", true); got != "data: 2\n\n" {
			t.Errorf("%q passed, want the backend's last event alone", got)
		}
	})
	t.Run("after the goodbye", func(t *testing.T) {
		_, _, old := parting(t, saysGoodbye, eventStream)
		old.send("data: 2\n\n", false)
		if got := old.send("data: 3\n\n", true); got != "" {
			t.Errorf("%q passed after the goodbye, want nothing", got)
		}
	})
}

// Where no goodbye is possible, or would come too late, a superseded stream is reset without one.
func TestNoGoodbye(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		response   fields
		goodbye    bool
	}{
		{"possible", saysGoodbye, eventStream, true},
		{"no grace", `"retry": "10s"`, eventStream, false},
		{"compressed", saysGoodbye, eventStream.with("content-encoding", "gzip"), false},
		{"not compressed, and it says so", saysGoodbye, eventStream.with("content-encoding", "identity"), true},
		{"of a fixed length", saysGoodbye, eventStream.with("content-length", "100"), false},
		{"the same instance", saysGoodbye + `, "instance": [{"header": "accept"}]`, eventStream, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, _, old := parting(t, c.rule, c.response)
			if stays := old.ended == ""; stays != c.goodbye {
				t.Fatalf("the stream stays for a goodbye: %v, want %v", stays, c.goodbye)
			}
			if !c.goodbye && old.reason != "superseded" {
				t.Errorf("reason %q", old.reason)
			}
			e.advance(6)
			if old.ended != byReset {
				t.Error("the stream lives on after its grace")
			}
		})
	}
}

// A rule that only observes says no goodbye, and reads no body for one.
func TestObserveSaysNoGoodbye(t *testing.T) {
	e, w, old := parting(t, saysGoodbye+`, "mode": "observe"`, eventStream)
	e.breaks("body", "", errBroken)
	if got := old.send("data: 2\n\n", false); got != "data: 2\n\n" || e.lines("warn") != nil {
		t.Errorf("%q passed, want the event alone; the log says %q", got, e.log)
	}
	e.advance(10)
	if old.ended != "" || len(w.live) != 2 {
		t.Errorf("ended %q, %d streams live, want both", old.ended, len(w.live))
	}
	e.counted(map[string]int64{"events.superseded": 1, "events.active": 1})
}

// The grace ends a stream whose backend is silent, and one whose recall is lost after the goodbye.
// Not earlier.
func TestGrace(t *testing.T) {
	for _, c := range []struct {
		name string
		part func(e *edge, old *exchange)
	}{
		{"silence", func(*edge, *exchange) {}},
		{"half an event", func(_ *edge, old *exchange) { old.send("data: 2\n", false) }},
		{"the body cannot be read", func(e *edge, old *exchange) {
			e.breaks("body", "", errBroken)
			old.send("data: 2\n\n", false)
		}},
		{"the goodbye cannot be written", func(e *edge, old *exchange) {
			e.breaks("append", "", errBroken)
			old.send("data: 2\n\n", false)
		}},
		{"the recall is lost", func(e *edge, old *exchange) {
			e.breaks("enqueue", "", errBroken)
			old.send("data: 2\n\n", false)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w, old := parting(t, saysGoodbye, eventStream)
			c.part(e, old)
			if broken := e.fails != nil; broken != (e.lines("warn failed") != nil) {
				t.Errorf("the log says %q", e.log)
			}
			e.now += 4999
			w.tickNow()
			if old.ended != "" {
				t.Fatal("reset before the grace is over")
			}
			e.now++
			w.tickNow()
			if old.ended != byReset || old.reason != "superseded" {
				t.Errorf("ended %q, reason %q", old.ended, old.reason)
			}
		})
	}
}

// A worker has 128 streams at most that say goodbye; those above are reset at once. When the
// goodbyes are over, there is room for others.
func TestGoodbyesDoNotPileUp(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(saysGoodbye+`, "takeover_limit": false`, ""))
	for round := range 2 {
		var parting []*exchange
		for range mostLeaving + 10 {
			parting = append(parting, w.open("alice"))
			e.run()
		}
		if n := len(w.live); n != mostLeaving+1 {
			t.Errorf("round %d: %d streams live, want %d and the newest", round, n, mostLeaving)
		}
		for _, x := range parting[:mostLeaving/2] { // some say it, the others' grace ends
			if x.ended == "" && !strings.HasSuffix(x.send(":\n\n", false), "}\n\n") {
				t.Fatalf("round %d: a stream says no goodbye", round)
			}
		}
		e.advance(6)
		if n := len(w.live); n != 1 {
			t.Errorf("round %d: %d streams live after the grace, want 1", round, n)
		}
	}
}

// A stream that has said its goodbye counts among them until it is reset.
func TestGoodbyesThatAreSaidCount(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured(saysGoodbye+`, "takeover_limit": false`, ""))
	var parting []*exchange
	for range mostLeaving + 1 {
		parting = append(parting, w.open("alice"))
		e.run()
	}
	e.breaks("enqueue", "", errBroken) // the recalls
	for _, x := range parting[:mostLeaving] {
		x.send(":\n\n", false)
	}
	e.mend()
	w.open("alice")
	e.run()
	if x := parting[mostLeaving]; x.ended != byReset {
		t.Errorf("%d streams have said goodbye, and one more stays", mostLeaving)
	}
}

// Envoy itself may answer a request that waits, and an operator's local_reply_config can make of it
// what looks like an event stream. It needs a place like others.
func TestEventStreamWhileTheRequestWaits(t *testing.T) {
	for _, c := range []struct {
		rule  string
		opens bool
	}{
		{refusing, false},               // held: it is to be refused
		{`"claim_at": "request"`, true}, // paused: it has a place
	} {
		t.Run(c.rule, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(c.rule, ""))
			w.open("alice")
			x := w.ask("alice")
			if c.rule == refusing {
				x = w.ask("alice")
			}
			if !x.waits {
				t.Fatal("the request does not wait")
			}
			x.waits = false
			x.answer(eventStream)
			w.check()
			if opened := x.stream.phase == open; opened != c.opens {
				t.Errorf("opened %v, want %v", opened, c.opens)
			}
			e.advance(3)
		})
	}
}
