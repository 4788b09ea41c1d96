package main_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

const withGoodbye = `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "goodbye_grace": "5s", "retry": "10s"}]}`

// superseding opens a stream, passes the chunks, and then opens another stream that supersedes it.
func superseding(t *testing.T, response host.Headers, before ...string) (e *edge, old *host.Stream) {
	t.Helper()
	e = newEdge(t, host.Config{PluginConfig: []byte(withGoodbye)})
	old = e.request(0, "alice")
	old.ResponseHeaders(response, false)
	for _, chunk := range before {
		old.ResponseBody([]byte(chunk), false)
	}
	e.open(1, "alice")
	e.Run()
	return e, old
}

// A goodbye comes between two events, however the backend cuts them into chunks, and nothing comes
// after it.
func TestGoodbyeStandsBetweenEvents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		before, after []string
		at            int // index in after of the chunk that the goodbye follows
	}{
		{"whole events", []string{"data: 1\n\n"}, []string{"data: 2\n\n", "data: 3\n\n"}, 0},
		{"an event in two chunks", []string{"data: 1\n\n"}, []string{"data: 2", "\n\n", "data: 3\n\n"}, 1},
		{"an event's last byte alone", []string{"data: 1\n"}, []string{"\n", "data: 2\n\n"}, 0},
		{"one byte a chunk", []string{"data: 1\n\n"}, []string{"x", "\r", "\n", "\r", "\n"}, 3},
		{"no event before", nil, []string{":\n\n"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, old := superseding(t, eventStream, c.before...)
			for i, chunk := range c.after {
				sent := len(old.ToClient().Body)
				old.ResponseBody([]byte(chunk), false)
				passed := string(old.ToClient().Body[sent:])
				switch {
				case i < c.at && passed != chunk:
					t.Fatalf("chunk %d: %q passed, want it unchanged", i, passed)
				case i == c.at:
					rest, ok := strings.CutPrefix(passed, chunk)
					if !ok || !strings.HasPrefix(rest, "retry: 1") || !strings.Contains(rest, "\nevent: streamlatch\ndata: {\"reason\":\"superseded\",\"retry_ms\":1") {
						t.Fatalf("chunk %d: %q passed, want the chunk and the goodbye", i, passed)
					}
				case i > c.at && passed != "":
					t.Fatalf("chunk %d: %q passed after the goodbye, want nothing", i, passed)
				}
			}
			e.live(old, true)
			e.Run()
			e.superseded(old)
			e.counted(map[string]uint64{"events.active": 1, "events.superseded": 1, "lost_wakeups": 0})
		})
	}
}

// A goodbye that finds no place between events is given up after the grace. If the wake-up after a
// goodbye is lost, the next tick resets the stream.
func TestGraceEnds(t *testing.T) {
	t.Parallel()
	t.Run("silence", func(t *testing.T) {
		e, old := superseding(t, eventStream, "data: 1\n\n")
		e.Advance(4 * time.Second)
		e.live(old, true)
		e.Advance(2 * time.Second)
		e.superseded(old)
	})
	t.Run("wake-up lost", func(t *testing.T) {
		e, old := superseding(t, eventStream, "data: 1\n\n")
		old.ResponseBody([]byte("data: 2\n\n"), false)
		e.DropWakeups()
		e.live(old, true)
		e.Advance(2 * time.Second)
		e.superseded(old)
	})
}

// If the response is compressed or has a fixed length, nothing can be added to it. The stream is
// reset at once.
func TestNoGoodbyeIsPossible(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"content-encoding", "content-length"} {
		response := host.Response(200, "content-type", "text/event-stream", header, "10")
		e, old := superseding(t, response, "data: 1\n\n")
		e.superseded(old)
	}
}

// The backend ends the stream with some last bytes, between the goodbye and the reset. The bytes do
// not pass.
func TestBackendEndsAfterTheGoodbye(t *testing.T) {
	t.Parallel()
	_, old := superseding(t, eventStream, "data: 1\n\n")
	old.ResponseBody([]byte("data: 2\n\n"), false)
	received := len(old.ToClient().Body)
	old.ResponseBody([]byte("data: 3\n\n"), true)
	if rest := old.ToClient().Body[received:]; len(rest) > 0 {
		t.Errorf("%q passed after the goodbye, want nothing", rest)
	}
}

// A client that reconnects again and again does not pile up streams, even with a long grace. A
// stream that was superseded by its own instance is reset at once. Without instances, so are the
// streams above a worker's share of goodbyes.
func TestGoodbyesDoNotPileUp(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]struct {
		config string
		opens  int // an instance may reconnect ten times at once
		most   int
	}{
		"instance":  {`"instance": [{"header": "x-client-id"}]`, 10, 1},
		"unlimited": {`"takeover_limit": false`, 400, 129},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, host.Config{PluginConfig: []byte(
				`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "goodbye_grace": "60s", ` + rule.config + `}]}`)})
			var streams []*host.Stream
			for range rule.opens {
				streams = append(streams, e.open(0, "alice"))
				e.Run()
			}
			if n := living(streams); n > rule.most {
				t.Errorf("%d streams live, want at most %d", n, rule.most)
			}
			e.Advance(62 * time.Second)
			if n := living(streams); n != 1 {
				t.Errorf("%d streams live after the grace, want 1", n)
			}
			if rule.most > 1 { // the worker's share is free again
				last := streams[len(streams)-1]
				e.open(1, "alice")
				e.Run()
				last.ResponseBody([]byte("data: x\n\n"), false)
				if !strings.Contains(string(last.ToClient().Body), "event: streamlatch") {
					t.Error("a later stream got no goodbye")
				}
			}
		})
	}
}

// Another filter of this kind, nearer to the backend, refuses a request with an event stream. That
// refusal is not a stream.
func TestRefusalFurtherOnIsNoStream(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	healthy := e.open(0, "alice")
	e.request(1, "alice").ResponseHeaders(host.Response(200, "content-type", "text/event-stream", "x-streamlatch-refused", "superseded"), false)
	e.Run()
	e.live(healthy, true)
	e.counted(map[string]uint64{"events.opened": 1, "events.superseded": 0, "events.active": 1})
}
