package streams

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// These rules have a retry of 2s. The goodbye_grace is longer than the tests wait, except in the
// rule curt.
const politeRules = `{"rules": [
	{"name": "polite", "match": {"path": {"prefix": "/polite/"}}, "client": [{"query": "client"}], "retry": "2s", "goodbye_grace": "60s"},
	{"name": "curt",   "match": {"path": {"prefix": "/curt/"}},   "client": [{"query": "client"}], "retry": "2s", "goodbye_grace": "1s"},
	{"name": "mortal", "match": {"path": {"prefix": "/mortal/"}}, "client": [{"query": "client"}], "retry": "2s", "goodbye_grace": "60s", "max_lifetime": "1s", "lifetime_jitter_percent": 0}
]}`

// A stream that must end gets a goodbye event between two events of its backend, and is then reset.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Filter: politeRules, LogLevel: "wasm:debug", Internal: true})
	operator := rigtest.Operator(t, r, rig.HTTP1)

	// drip sends these parts of events on a stream, again and again, until the stream ends.
	drip := func(t *testing.T, s *rig.Stream, halves ...string) string {
		t.Helper()
		for i := 0; s.Live(); i++ {
			r.Backend.Write(s.ID, halves[i%len(halves)])
			time.Sleep(20 * time.Millisecond)
			if i > int(wait.Patience/(20*time.Millisecond)) {
				t.Fatalf("want the end of the stream, which has got %q so far", s.Received())
			}
		}
		rigtest.WantEnd(t, s, rig.Reset)
		return s.Received()
	}
	whole := regexp.MustCompile(`^data: \n\n(?:data: one\ndata: event\n\n)*retry: (\d+)\nevent: streamlatch\ndata: {"reason":"superseded","retry_ms":\d+}\n\n$`)

	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, halves := range [][]string{
			{"data: one\nda", "ta: event\n\n"},
			{"data: one\ndata: event\n", "\n"},
			{"data: one\ndata: event\n\n"},
			{"data: one\n", "data: event\n\ndata: one\n", "data: event\n\n"},
		} {
			t.Run(fmt.Sprintf("superseded, %q", halves), func(t *testing.T) {
				client := rigtest.NewClient()
				old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("polite", client))
				newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("polite", client))
				got := drip(t, old, halves...)
				m := whole.FindStringSubmatch(got)
				if m == nil {
					t.Fatalf("the old stream got %q, want complete events and then a goodbye: %v", got, whole)
				}
				if retry, _ := strconv.Atoi(m[1]); retry < 2000 || retry > 2500 {
					t.Errorf("got retry %d, want 2000 to 2500", retry)
				}
				rigtest.WantFlow(t, r, newer)
				rigtest.WantLive(t, r, client, newer)
			})
		}
		t.Run("lines that end in CRLF", func(t *testing.T) {
			client := rigtest.NewClient()
			old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("polite", client))
			newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("polite", client))
			got := drip(t, old, "data: one\r\ndata: ", "event\r\n\r", "\n")
			if events, last, found := strings.Cut(got, "retry: "); !found || !strings.HasSuffix(strings.TrimSuffix(events, "\n"), "\r\n\r") || !strings.HasSuffix(last, "}\n\n") {
				t.Errorf("the old stream got %q, want its events and then a goodbye", got)
			}
			rigtest.WantFlow(t, r, newer)
		})
		t.Run("dismissed", func(t *testing.T) {
			client := rigtest.NewClient()
			s := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("polite", client))
			rigtest.WantDelete(t, operator, "/streamlatch/streams/polite/"+client, 200, "{\"streams\":1}\n")
			rigtest.WantEnd(t, s, rig.Reset) // at once, without the grace
			if got := s.Received(); strings.Contains(got, "streamlatch") {
				t.Errorf("the stream got %q, want no goodbye", got)
			}
		})
		t.Run("expired", func(t *testing.T) {
			s := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("mortal", rigtest.NewClient()))
			if got := drip(t, s, "data: x\n\n"); strings.Contains(got, "retry") || !strings.HasSuffix(got, "event: streamlatch\ndata: {\"reason\":\"expired\"}\n\n") {
				t.Errorf("the stream got %q, want a goodbye without retry", got)
			}
		})
		for about, texts := range map[string][]string{"a silent backend": {}, "half an event": {"data: half\n"}} {
			t.Run(about, func(t *testing.T) {
				client := rigtest.NewClient()
				old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("curt", client))
				for _, text := range texts {
					r.Backend.Write(old.ID, text)
					wait.Until(t, func() error {
						if !strings.HasSuffix(old.Received(), text) {
							return fmt.Errorf("the stream got %q, want %q at its end", old.Received(), text)
						}
						return nil
					})
				}
				newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("curt", client))
				rigtest.WantEnd(t, old, rig.Reset)
				if got := old.Received(); strings.Contains(got, "streamlatch") {
					t.Errorf("the old stream got %q, want no goodbye", got)
				}
				rigtest.WantFlow(t, r, newer)
				rigtest.WantLive(t, r, client, newer)
			})
		}
		// A compressed response, or one with a content-length, can have no goodbye. It is reset at
		// once.
		for _, answer := range []rig.Answer{rig.Compressed, rig.Counted} {
			t.Run(string(answer), func(t *testing.T) {
				client := rigtest.NewClient()
				q := rigtest.Get("polite", client)
				q.Answer = answer
				old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), q)
				newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("polite", client))
				rigtest.WantEnd(t, old, rig.Reset)
				if got := old.Received(); got != "data: \n\n" {
					t.Errorf("the old stream got %q, want only the event of the backend", got)
				}
				rigtest.WantFlow(t, r, newer)
				rigtest.WantLive(t, r, client, newer)
			})
		}
	})
	rigtest.WantReasons(t, r, map[string]int{"superseded": 2 * (4 + 1 + 2 + 2), "dismissed": 2, "expired": 2})
}
