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

// The retry of these rules is 2 s; the graces are longer than the tests wait, but that of curt.
const politeRules = `{"rules": [
	{"name": "polite", "match": {"path": {"prefix": "/polite/"}}, "client": [{"query": "client"}], "retry": "2s", "goodbye_grace": "60s"},
	{"name": "curt",   "match": {"path": {"prefix": "/curt/"}},   "client": [{"query": "client"}], "retry": "2s", "goodbye_grace": "1s"},
	{"name": "mortal", "match": {"path": {"prefix": "/mortal/"}}, "client": [{"query": "client"}], "retry": "2s", "goodbye_grace": "60s", "max_lifetime": "1s", "lifetime_jitter_percent": 0}
]}`

// A stream that must go is told so, between two events of its backend's, and then cut.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Filter: politeRules, LogLevel: "wasm:debug", Internal: true})
	operator := rigtest.Operator(t, r, rig.HTTP1)

	// drip sends halves of events on a stream until it ends.
	drip := func(t *testing.T, s *rig.Stream, halves ...string) string {
		t.Helper()
		for i := 0; s.Live(); i++ {
			r.Backend.Write(s.ID, halves[i%len(halves)])
			time.Sleep(20 * time.Millisecond)
			if i > int(wait.Patience/(20*time.Millisecond)) {
				t.Fatalf("the stream does not end; it got %q", s.Received())
			}
		}
		rigtest.WantEnd(t, s, rig.Reset)
		return s.Received()
	}
	const goodbye = `event: streamlatch\ndata: {"reason":"%s"}\n\n$`
	whole := regexp.MustCompile(fmt.Sprintf(`^data: \n\n(?:data: one\ndata: event\n\n)*retry: (\d+)\n`+goodbye, "superseded"))

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
					t.Fatalf("the old stream got %q, want whole events and then a goodbye: %v", got, whole)
				}
				if retry, _ := strconv.Atoi(m[1]); retry < 2000 || retry > 2500 {
					t.Errorf("retry %d, want 2000 to 2500", retry)
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
				t.Errorf("the old stream got %q", got)
			}
			rigtest.WantFlow(t, r, newer)
		})
		t.Run("dismissed", func(t *testing.T) {
			client := rigtest.NewClient()
			s := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("polite", client))
			rigtest.WantDelete(t, operator, "/streamlatch/streams/polite/"+client, 200, "{\"streams\":1}\n")
			rigtest.WantEnd(t, s, rig.Reset) // at once: whoever is dismissed is to be gone
			if got := s.Received(); strings.Contains(got, "streamlatch") {
				t.Errorf("the stream got %q, want no goodbye", got)
			}
		})
		t.Run("expired", func(t *testing.T) {
			s := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("mortal", rigtest.NewClient()))
			if got := drip(t, s, "data: x\n\n"); strings.Contains(got, "retry") || !regexp.MustCompile(fmt.Sprintf(goodbye, "expired")).MatchString(got) {
				t.Errorf("the stream got %q; want a goodbye, and no longer a wait than it has", got)
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
							return fmt.Errorf("the stream got %q", old.Received())
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
		// Nothing can be put after what is compressed or counted; nor is there a wait then.
		for _, answer := range []rig.Answer{rig.Compressed, rig.Counted} {
			t.Run(string(answer), func(t *testing.T) {
				client := rigtest.NewClient()
				q := rigtest.Get("polite", client)
				q.Answer = answer
				old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), q)
				newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("polite", client))
				rigtest.WantEnd(t, old, rig.Reset)
				if got := old.Received(); got != "data: \n\n" {
					t.Errorf("the old stream got %q, want what the backend sent", got)
				}
				rigtest.WantFlow(t, r, newer)
				rigtest.WantLive(t, r, client, newer)
			})
		}
	})
	rigtest.WantReasons(t, r, map[string]int{"superseded": 2 * (4 + 1 + 2 + 2), "dismissed": 2, "expired": 2})
}
