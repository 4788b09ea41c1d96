//go:build browser

package browser

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/wait"
)

// Two tabs of one user with different instances do not fight. The automatic reconnects of the loser
// are refused, each with the reason, until the user reloads it.
func TestLoserStaysOutUntilReload(t *testing.T) {
	t.Parallel()
	w := start(t, "loser")
	a, b := w.streams("127.0.0.1"), w.streams("127.0.0.1")
	a.raw("a", w.events("tab", "a"))
	a.sees("a", "message welcome", 1)
	b.raw("b", w.events("tab", "b"))
	b.sees("b", "message welcome", 1)
	a.sees("a", "streamlatch superseded", 5)
	if n := b.times("b", "error"); n != 0 {
		t.Errorf("the winner: got %d errors, want 0: %v", n, b.seen("b"))
	}
	if n := a.times("a", "message welcome"); n != 1 {
		t.Errorf("the loser: got a second stream, want refusals only: %v", a.seen("a"))
	}
	if n := w.metric("superseded"); n != 1 {
		t.Errorf("got %d takeovers, want 1", n)
	}

	a.do("shut('a')") // a reload: a new instance
	a.raw("a2", w.events("tab", "a2"))
	a.sees("a2", "message welcome", 1)
	b.sees("b", "streamlatch superseded", 2)
	w.holds(1)
	if n := w.metric("superseded"); n != 2 {
		t.Errorf("got %d takeovers, want 2", n)
	}
}

// Tabs without an instance take the stream from each other, but only as fast as the token bucket
// refills.
func TestFightSettlesAtTheBucketsRate(t *testing.T) {
	t.Parallel()
	const tokens, fill = 2, 2 * time.Second
	w := start(t, "fight")
	a, b := w.streams("127.0.0.1"), w.streams("127.0.0.1")
	began := time.Now()
	a.raw("a", w.events())
	b.raw("b", w.events())
	wait.Until(t, func() error {
		if n := w.metric("superseded"); n < 6 {
			return fmt.Errorf("got %d takeovers, want 6; the tabs saw %v and %v", n, a.seen("a"), b.seen("b"))
		}
		return nil
	})
	takeovers := w.metric("superseded")
	if most := uint64(tokens + time.Since(began)/fill); takeovers > most {
		t.Errorf("got %d takeovers in %v, want at most %d", takeovers, time.Since(began), most)
	}
	wait.Until(t, func() error {
		if a.times("a", "streamlatch takeover_limit")+b.times("b", "streamlatch takeover_limit") == 0 {
			return fmt.Errorf("want a refusal as takeover_limit in one tab, got %v and %v", a.seen("a"), b.seen("b"))
		}
		return nil
	})
	w.holds(1)
}

// A page on a bad network reconnects again and again. It is never refused.
func TestFlakyPageIsNeverLockedOut(t *testing.T) {
	t.Parallel()
	w := start(t, "flaky")
	p := w.streams("127.0.0.1")
	p.raw("a", w.events("tab", "a"))
	for n := 1; n <= 20; n++ {
		p.sees("a", "message welcome", n)
		p.do("shut('a')")
		p.raw("a", w.events("tab", "a"))
	}
	p.sees("a", "message welcome", 21)
	if slices.ContainsFunc(p.seen("a"), func(what string) bool { return strings.HasPrefix(what, "streamlatch") }) {
		t.Errorf("got %v in the tab, want no refusal", p.seen("a"))
	}
}

// With reject_new the EventSource of a second tab stops for good.
func TestRejectedTabStops(t *testing.T) {
	t.Parallel()
	w := start(t, "reject")
	p := w.streams("127.0.0.1")
	p.raw("a", w.events())
	p.sees("a", "message welcome", 1)
	p.raw("b", w.events())
	p.sees("b", "error 2", 1) // closed
	if got := p.seen("b"); len(got) != 1 {
		t.Errorf("the second stream: got %v, want only the end", got)
	}
	if got := p.seen("a"); len(got) != 2 {
		t.Errorf("the first stream: got %v, want it to go on", got)
	}
}

// The goodbye tells a page the reason. Its retry keeps the page away for that long, even without an
// instance.
func TestGoodbyeSticks(t *testing.T) {
	t.Parallel()
	w := start(t, "sticky")
	p := w.streams("127.0.0.1")
	p.raw("a", w.events())
	p.sees("a", "message welcome", 1)
	p.raw("b", w.events())
	p.sees("a", "streamlatch superseded", 1)
	p.sees("a", "error 0", 1)
	w.holds(1)
	p.do("shut('b')")
	w.holds(0)
	p.raw("b", w.events())
	p.sees("b", "message welcome", 2)
	w.goesOn(20) // with the backend's retry of 200 ms the loser would be back by now
	if n := p.times("a", "message welcome"); n != 1 {
		t.Errorf("the loser: got a second stream, want none before its retry: %v", p.seen("a"))
	}
}

// If the compressor stands between Streamlatch and the page, the page reads compressed events as
// they are sent, and the goodbye.
func TestCompressedGoodbye(t *testing.T) {
	t.Parallel()
	w := start(t, "packed")
	p := w.streams("127.0.0.1")
	p.raw("a", w.events())
	p.sees("a", "message welcome", 1)
	p.raw("b", w.events())
	p.sees("b", "message welcome", 1)
	p.sees("a", "streamlatch superseded", 1)
	p.sees("a", "error 0", 1)
	w.holds(1)
	const compressed = "http.edge.compressor.gzip.gzip.response.compressed"
	stats, err := w.Envoy().Admin().Stats(t.Context(), regexp.QuoteMeta(compressed))
	if err != nil {
		t.Fatal(err)
	}
	if n := stats.Values[compressed]; n != 2 {
		t.Errorf("got %d compressed streams, want 2: %v", n, stats.Values)
	}
}

// A page of another origin can read the reason too, if cors stands before Streamlatch.
func TestCrossOriginRefusal(t *testing.T) {
	t.Parallel()
	w := start(t, "cross")
	there := "http://" + w.Address()
	a, b := w.streams("localhost"), w.streams("127.0.0.1")
	a.raw("a", there+w.events("tab", "a"))
	a.sees("a", "message welcome", 1)
	b.raw("b", w.events("tab", "b"))
	b.sees("b", "message welcome", 1)
	a.sees("a", "streamlatch superseded", 3)
}

// goesOn waits until the backend has sent n comments more, one every 100 ms on each stream. What
// would have happened by then has not happened.
func (w *world) goesOn(n int) {
	w.t.Helper()
	want := w.sent(w.client) + n
	wait.Until(w.t, func() error {
		if got := w.sent(w.client); got < want {
			return fmt.Errorf("the backend: got %d comments sent, want %d", got, want)
		}
		return nil
	})
}
