package front

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// Envoy's compressor, on either side of Streamlatch.

// eventStreamsToo makes the compressor compress event streams, which are not among its default
// content types.
const eventStreamsToo = `              response_direction_config: {common_config: {content_type: [text/event-stream, application/json]}}
`

// packed is an event stream that may be compressed, at its client.
type packed struct {
	id     int
	header http.Header
	mu     sync.Mutex
	got    []byte
	done   chan struct{}
	how    rig.How // set before done is closed
	err    error
}

// openPacked opens an event stream as a client that accepts compressed responses.
func openPacked(t *testing.T, r *rig.Rig, c *rig.Conn, q rig.Request) *packed {
	t.Helper()
	had := r.Backend.Live(q.Client)
	q.Header = map[string]string{"accept-encoding": "gzip, zstd"}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	response, err := c.Send(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	s := &packed{header: response.Header, done: make(chan struct{})}
	wait.Until(t, func() error {
		for _, id := range r.Backend.Live(q.Client) {
			if len(had) == 0 || id > had[len(had)-1] {
				s.id = id
				return nil
			}
		}
		return errors.New("want a new stream at the backend")
	})
	go func() {
		defer close(s.done)
		defer response.Body.Close()
		chunk := make([]byte, 4<<10)
		for {
			n, err := response.Body.Read(chunk)
			s.mu.Lock()
			s.got = append(s.got, chunk[:n]...)
			s.mu.Unlock()
			if err != nil {
				s.how, s.err = c.Ended(err, true), err
				return
			}
		}
	}()
	return s
}

// text returns what the client has received so far, decompressed as far as possible.
func (s *packed) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.header.Get("content-encoding") != "gzip" {
		return string(s.got)
	}
	unpack, err := gzip.NewReader(bytes.NewReader(s.got))
	if err != nil {
		return ""
	}
	text, _ := io.ReadAll(unpack)
	return string(text)
}

// wantText waits until the text of the stream matches want.
func (s *packed) wantText(t *testing.T, want *regexp.Regexp) {
	t.Helper()
	wait.Until(t, func() error {
		if got := s.text(); !want.MatchString(got) {
			return fmt.Errorf("stream %d: got the text %q, want %v", s.id, got, want)
		}
		return nil
	})
}

// wantReset waits until the stream has ended, and checks that it was reset.
func (s *packed) wantReset(t *testing.T) {
	t.Helper()
	select {
	case <-s.done:
		if s.how != rig.Reset {
			t.Fatalf("stream %d: got the end %v (%v), want a reset", s.id, s.how, s.err)
		}
	case <-time.After(wait.Patience):
		t.Fatalf("stream %d: want a reset, got no end, and the text %q", s.id, s.text())
	}
}

// The goodbye_grace is longer than the tests wait.
var compressRules = `{"rules": [` + strings.Join([]string{
	rigtest.OneRule("plain", ""),
	rigtest.OneRule("polite", `, "goodbye_grace": "60s", "retry": "2s"`),
	rigtest.OneRule("limited", `, "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}`),
}, ", ") + `]}`

// On either side of the compressor, events arrive as they are sent, and a takeover resets the old
// stream. A goodbye is added only to what is not compressed yet, so the compressor must stand
// between Streamlatch and the client.
func TestCompressor(t *testing.T) {
	t.Parallel()
	for _, place := range []struct {
		name            string
		edit            rig.Edit
		stream, refusal string // their content-encoding
		goodbye         bool
	}{
		{"between Streamlatch and the client", rigtest.Before(compressor(eventStreamsToo)), "gzip", "gzip", true},
		{"between Streamlatch and the backend", rigtest.After(compressor(eventStreamsToo)), "gzip", "", false},
		{"with its default content types", rigtest.After(compressor("")), "", "", true},
	} {
		t.Run(place.name, func(t *testing.T) {
			t.Parallel()
			r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: compressRules, LogLevel: "wasm:debug", Edits: []rig.Edit{place.edit}})
			rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
				t.Run("takeover", func(t *testing.T) {
					had, client := rigtest.CountsOf(rigtest.Metrics(t, r), "plain"), rigtest.NewClient()
					old := openPacked(t, r, rigtest.Dial(t, r, p, 0), rigtest.Get("plain", client))
					if got := old.header.Get("content-encoding"); got != place.stream {
						t.Fatalf("got content-encoding %q, want %q", got, place.stream)
					}
					wantEachEvent(t, r, old)
					newer := openPacked(t, r, rigtest.Dial(t, r, p, 1), rigtest.Get("plain", client))
					old.wantReset(t)
					old.wantText(t, regexp.MustCompile(`^data: \n\n(data: event \d\n\n){3}$`))
					wantEachEvent(t, r, newer)
					rigtest.WantCountsSince(t, r, "plain", had, rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})
				})
				t.Run("goodbye", func(t *testing.T) {
					client := rigtest.NewClient()
					old := openPacked(t, r, rigtest.Dial(t, r, p, 0), rigtest.Get("polite", client))
					wantEachEvent(t, r, old)
					newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("polite", client))
					last := ""
					if place.goodbye {
						last = `data: last\n\nretry: 2\d\d\d\nevent: streamlatch\ndata: {"reason":"superseded","retry_ms":2\d\d\d}\n\n`
						// The goodbye comes after the first event that follows the takeover.
						wait.Until(t, func() error {
							r.Backend.Send(old.id, "last")
							select {
							case <-old.done:
								return nil
							default:
								return errors.New("want the end of the stream")
							}
						})
					}
					old.wantReset(t)
					old.wantText(t, regexp.MustCompile(`^data: \n\n(data: event \d\n\n){3}(data: last\n\n)*`+last+`$`))
					rigtest.WantFlow(t, r, newer)
					rigtest.WantLive(t, r, client, newer)
				})
				t.Run("refusal", func(t *testing.T) {
					client := rigtest.NewClient()
					first := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("limited", client))
					held := rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("limited", client))
					rigtest.WantEnd(t, first, rig.Reset)
					q := rigtest.Get("limited", client)
					q.Header = map[string]string{"accept-encoding": "gzip, zstd"}
					got := rigtest.Do(t, rigtest.Dial(t, r, p, 0), q)
					if encoding := got.Header.Get("content-encoding"); got.Status != 200 || encoding != place.refusal {
						t.Fatalf("got %+v, want status 200 and content-encoding %q", got, place.refusal)
					}
					answer := packed{header: got.Header, got: []byte(got.Body)}
					answer.wantText(t, rigtest.SoftRefusal)
					rigtest.WantFlow(t, r, held)
				})
			})
		})
	}
}

// wantEachEvent sends events, and waits for each before it sends the next.
func wantEachEvent(t *testing.T, r *rig.Rig, s *packed) {
	t.Helper()
	for i := range 3 {
		r.Backend.Send(s.id, fmt.Sprintf("event %d", i))
		s.wantText(t, regexp.MustCompile(fmt.Sprintf(`data: event %d\n\n$`, i)))
	}
}

// Envoy's zstd compressor, unlike gzip, holds all data until the stream ends in an orderly way. If
// it compresses event streams, their clients get no events, with or without Streamlatch.
func TestZstdKeepsEvents(t *testing.T) {
	t.Parallel()
	zstd := strings.NewReplacer("gzip.compressor.v3.Gzip", "zstd.compressor.v3.Zstd").Replace(compressor(eventStreamsToo))
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: compressRules, LogLevel: "wasm:debug", Edits: []rig.Edit{rigtest.Before(zstd)}})
	client := rigtest.NewClient()
	s := openPacked(t, r, rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Get("plain", client))
	if got := s.header.Get("content-encoding"); got != "zstd" {
		t.Fatalf("got content-encoding %q, want zstd", got)
	}
	r.Backend.Send(s.id, "event")
	const sent = len("data: \n\ndata: event\n\n")
	wait.Until(t, func() error {
		for name, n := range rigtest.StatsUnder(t, r, "http.edge.compressor.") {
			if strings.HasSuffix(name, "total_uncompressed_bytes") && n == uint64(sent) {
				return nil
			}
		}
		return fmt.Errorf("want %d bytes in the compressor, got %v", sent, rigtest.StatsUnder(t, r, "http.edge.compressor."))
	})
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("plain", client))
	s.wantReset(t)
	if s.text() != "" {
		t.Errorf("got the text %q, want none: if Envoy has fixed zstd, correct the documentation", s.text())
	}
	rigtest.WantFlow(t, r, newer)
}
