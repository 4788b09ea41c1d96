//go:build browser

package browser

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// eachWay runs a test of envoy/demo/streamlatch.js, the module for pages. Its two ways to open a
// stream do the same.
func eachWay(t *testing.T, rule string, test func(t *testing.T, w *world, p *page, way string)) {
	t.Parallel()
	for _, way := range []string{"listen", "read"} {
		t.Run(way, func(t *testing.T) {
			w := start(t, rule)
			test(t, w, w.streams("127.0.0.1"), way)
		})
	}
}

// helped opens a stream with the module, under a name that is also its instance.
func (p *page) helped(name, way, events string) {
	p.t.Helper()
	p.do(call("helped", name, way, events, map[string]any{"tab": name}))
}

// The goodbye tells the loser of a takeover that it has lost. It stops for good.
func TestModuleStopsAtTheGoodbye(t *testing.T) {
	eachWay(t, "polite", func(t *testing.T, w *world, p *page, way string) {
		before := w.metric("refused_superseded")
		p.helped("a", way, w.events())
		p.sees("a", "message welcome", 1)
		p.helped("b", way, w.events())
		p.sees("b", "message welcome", 1)
		p.sees("a", "stop superseded", 1)
		w.holds(1)
		w.goesOn(10) // whoever comes back does so within 250 ms
		if got := p.seen("a"); len(got) != 3 {
			t.Errorf("the loser: got %q, want it open, one event, and stopped", got)
		}
		if got := w.metric("refused_superseded"); got != before {
			t.Errorf("the loser: it came back %d times, want 0", got-before)
		}
	})
}

// Without a goodbye the loser sees only the end of its stream. It comes back, and is told.
func TestModuleStopsAtTheRefusal(t *testing.T) {
	eachWay(t, "curt", func(t *testing.T, w *world, p *page, way string) {
		p.helped("a", way, w.events())
		p.sees("a", "message welcome", 1)
		p.helped("b", way, w.events())
		p.sees("a", "stop superseded", 1)
		w.goesOn(10)
		got := p.seen("a")
		if len(got) != 4 || got[0] != "open" || !strings.HasPrefix(got[2], "wait ended") || got[3] != "stop superseded" {
			t.Errorf("the loser: got %q, want it open, one event, a wait, and stopped", got)
		}
	})
}

// A page that has to wait is told why and for how long, comes back by itself, and says that its
// stream is open only when it is. The next token is far: on a busy machine it must not come before
// the page asks.
func TestModuleWaitsForAToken(t *testing.T) {
	eachWay(t, "slow", func(t *testing.T, w *world, p *page, way string) {
		for _, name := range []string{"a", "b"} { // b takes the token
			p.helped(name, way, w.events())
			p.sees(name, "message welcome", 1)
		}
		p.helped("c", way, w.events())
		p.sees("c", "wait takeover_limit", 1)
		waits(t, p.seen("c")[0], 1, 19_000) // until the next token and up to a quarter more, in whole seconds
		p.sees("c", "message welcome", 1)
		p.sees("b", "stop superseded", 1)
		got := p.seen("c")
		if at := slices.Index(got, "open"); at != len(got)-2 || p.times("c", "open") != 1 || p.times("c", "wait takeover_limit") != at {
			t.Errorf("the newcomer: got %q, want only waits before it is open", got)
		}
	})
}

// waits checks how many milliseconds a stream was told to wait.
func waits(t *testing.T, seen string, least, most int) {
	t.Helper()
	words := strings.Fields(seen)
	if ms, err := strconv.Atoi(words[len(words)-1]); err != nil || ms < least || ms > most {
		t.Errorf("got %q, want %d to %d ms", seen, least, most)
	}
}

// The other refusal after which a page should come back. It is not parallel to other tests, since
// it fills the whole Envoy.
func TestModuleWaitsForRoom(t *testing.T) {
	for _, way := range []string{"listen", "read"} {
		t.Run(way, func(t *testing.T) {
			w := start(t, "plain")
			p := w.streams("127.0.0.1")
			conn, err := w.Dial(t.Context(), rig.HTTP2)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var full []*rig.Stream
			for range total {
				full = append(full, rigtest.Open(t, conn, rig.Request{Path: "/plain/events?kind=quiet&client=" + rigtest.NewClient()}))
			}
			p.helped("a", way, w.events())
			p.sees("a", "wait overloaded", 1)
			waits(t, p.seen("a")[0], 500, 1000)
			for _, s := range full {
				s.Close()
			}
			p.sees("a", "message welcome", 1)
			if got := p.seen("a"); slices.Contains(got[:len(got)-2], "open") || got[len(got)-2] != "open" {
				t.Errorf("got %q, want only waits before it is open", got)
			}
		})
	}
}

// With reject_new a second stream is meant to stop. An EventSource cannot know why.
func TestModuleStopsWhenRejected(t *testing.T) {
	eachWay(t, "reject", func(t *testing.T, w *world, p *page, way string) {
		p.helped("a", way, w.events())
		p.sees("a", "message welcome", 1)
		p.helped("b", way, w.events())
		p.sees("b", "stop", 1)
		w.goesOn(10)
		if got, want := p.seen("b"), []string{map[string]string{"listen": "stop rejected", "read": "stop duplicate"}[way]}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// A request that is too long for the rule's conditions will be too long the next time, too.
func TestModuleStopsWhenTooLong(t *testing.T) {
	eachWay(t, "long", func(t *testing.T, w *world, p *page, way string) {
		p.helped("a", way, strings.Replace(w.events(), "/long/", "/long/"+strings.Repeat("a", 2000)+"/", 1))
		p.sees("a", "stop", 1)
		if got, want := p.seen("a"), []string{map[string]string{"listen": "stop rejected", "read": "stop too_long"}[way]}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// What the backend itself refuses, without a time to wait, stops too.
func TestModuleStopsAtAnError(t *testing.T) {
	eachWay(t, "plain", func(t *testing.T, w *world, p *page, way string) {
		p.helped("a", way, w.events("kind", "none"))
		p.sees("a", "stop rejected", 1)
		if got := w.requests(w.client); len(p.seen("a")) != 1 || len(got) != 1 {
			t.Errorf("got %q and %d requests, want one of each", p.seen("a"), len(got))
		}
	})
}

// A stream that reaches its max_lifetime, or ends without a word, comes back at the place in the
// stream that it had reached.
func TestModuleComesBackAtItsPlace(t *testing.T) {
	for kind, reason := range map[string]string{"": "expired", "brief": "ended"} {
		t.Run(reason, func(t *testing.T) {
			eachWay(t, "mortal", func(t *testing.T, w *world, p *page, way string) {
				p.helped("a", way, w.events("kind", kind))
				p.sees("a", "message welcome é2", 1)
				want := []string{"open", "message welcome é1", "wait " + reason, "open", "message welcome é2"}
				got := p.seen("a")
				if got[2], _, _ = cutLast(got[2]); !slices.Equal(got[:5], want) {
					t.Errorf("got %q, want %q", got, want)
				}
				if got := w.requests(w.client); got[0].lastEventID != "" || got[1].lastEventID != "é1" {
					t.Errorf("got the last event ids %q and %q, want none and é1", got[0].lastEventID, got[1].lastEventID)
				}
			})
		})
	}
}

// cutLast cuts the last word off.
func cutLast(text string) (before, last string, found bool) {
	at := strings.LastIndex(text, " ")
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+1:], true
}

// Headers and comments do not make a stream open: a refusal has headers too.
func TestModuleIsOpenAtTheFirstEvent(t *testing.T) {
	eachWay(t, "plain", func(t *testing.T, w *world, p *page, way string) {
		p.helped("a", way, w.events("kind", "quiet"))
		w.goesOn(5)
		if got := p.seen("a"); len(got) != 0 {
			t.Errorf("before the first event: got %q, want nothing", got)
		}
		w.speak(w.client)
		p.sees("a", "message at last", 1)
		if got := p.seen("a"); len(got) != 2 || got[0] != "open" {
			t.Errorf("got %q, want it open, and the event", got)
		}
	})
}

// The function that the module returns closes the stream, also while it waits.
func TestModuleCloses(t *testing.T) {
	eachWay(t, "late", func(t *testing.T, w *world, p *page, way string) {
		for _, name := range []string{"a", "b"} {
			p.helped(name, way, w.events())
			p.sees(name, "message welcome", 1)
		}
		p.helped("c", way, w.events())
		p.sees("c", "wait takeover_limit", 1)
		p.do("shut('c')")
		had := len(p.seen("c"))
		w.goesOn(120) // the token comes after ten seconds, that is 100 comments
		if got := p.seen("c"); len(got) != had || p.times("b", "stop") != 0 {
			t.Errorf("a closed stream that waited: got %q, want it away", got)
		}
		p.do("shut('b')")
		w.holds(0)
		if got := p.seen("b"); len(got) != 2 {
			t.Errorf("a closed stream: got %q, want nothing after its event", got)
		}
	})
}

// read() understands a stream as the browser's EventSource does.
func TestModuleReadsAsTheBrowser(t *testing.T) {
	t.Parallel()
	w := start(t, "plain")
	p := w.streams("127.0.0.1")
	want := []string{}
	for _, way := range []string{"listen", "read"} {
		p.do(call("helped", way, way, w.events("kind", "odd"), map[string]any{"types": []string{"message", "other"}}))
		p.sees(way, "wait ended", 1)
		got := p.seen(way)
		if way == "listen" {
			want = got
			continue
		}
		waits(t, got[len(got)-1], 60000, 60000) // the stream's retry
		got[len(got)-1] = "wait ended undefined"
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	if len(want) < 15 {
		t.Errorf("the browser: got %q, want all of the events", want)
	}
}

// The example in envoy/README.md works.
func TestModuleAsInTheReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../envoy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(readme), "```js\n")
	example, _, _ = strings.Cut(example, "```")
	w := start(t, "polite")
	a, b := w.streams("127.0.0.1"), w.streams("127.0.0.1")
	for _, p := range []*page{a, b} {
		here := strings.Replace(example, "'./streamlatch.js'", "'"+p.origin()+"/streamlatch.js'", 1)
		here = strings.Replace(here, "'/events'", "'"+p.origin()+w.events()+"'", 1)
		if !found || strings.Count(here, p.origin()) != 2 {
			t.Fatalf("envoy/README.md: want an example that opens /events with the module, got %s", example)
		}
		p.do("window.said = []; window.say = text => said.push(text); window.show = say")
		p.do(call("text => { document.head.append(Object.assign(document.createElement('script'), {type: 'module', text})) }", here))
		p.until("said.includes('welcome')")
	}
	a.until("said.at(-1) === 'Open in a newer tab. Reload to have it here'")
	if got := value[[]string](b, "said"); !slices.Equal(got, []string{"Live", "welcome"}) {
		t.Errorf("the newer page: got %q, want it live", got)
	}
}

// A page that does not name its stream has a name of its own, which another page does not have.
func TestModuleNamesThePage(t *testing.T) {
	t.Parallel()
	w := start(t, "named")
	a, b := w.streams("127.0.0.1"), w.streams("127.0.0.1")
	a.do(call("helped", "a", "listen", w.events()))
	a.sees("a", "message welcome", 1)
	a.do("shut('a')")
	a.do(call("helped", "again", "read", w.events()))
	a.sees("again", "message welcome", 1)
	if n := w.metric("superseded"); a.times("again", "wait") > 0 {
		t.Errorf("the same page again: got %d takeovers and %q, want it let in", n, a.seen("again"))
	}
	b.do(call("helped", "b", "read", w.events()))
	a.sees("again", "stop superseded", 1)
	b.sees("b", "message welcome", 1)
}

// A POST that is refused comes back with its body. One whose stream has ended does not.
func TestModulePosts(t *testing.T) {
	t.Parallel()
	w := start(t, "early")
	p := w.streams("127.0.0.1")
	post := func(name, kind string) {
		p.do(call("helped", name, "read", w.events("kind", kind), map[string]any{"tab": name, "method": "POST", "body": name}))
	}
	post("a", "")
	p.sees("a", "message welcome", 1)
	post("b", "")
	p.sees("b", "message welcome", 1)
	p.sees("a", "stop ended", 1)
	post("c", "brief")
	p.sees("c", "wait takeover_limit", 1)
	p.sees("c", "stop ended", 1)
	if got := p.seen("c"); p.times("c", "open") != 1 || got[len(got)-3] != "open" {
		t.Errorf("got %q, want waits, and then an open stream that ends", got)
	}
	want := []request{{"POST", "", "a"}, {"POST", "", "b"}, {"POST", "", "c"}}
	if got := w.requests(w.client); !slices.Equal(got, want) {
		t.Errorf("the backend: got %q, want %q", got, want)
	}
}
