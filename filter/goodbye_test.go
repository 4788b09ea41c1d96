package main_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

const withGoodbye = `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "goodbye_grace": "5s", "retry": "10s"}]}`

// superseding opens a stream, lets the chunks through, and has another take its place.
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

// A goodbye stands between events, however the backend cuts them into chunks, and nothing stands after it.
func TestGoodbyeStandsBetweenEvents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		before, after []string
		at            int // index in after of the chunk that the goodbye follows
	}{
		{"whole events", []string{"data: 1\n\n"}, []string{"data: 2\n\n", "data: 3\n\n"}, 0},
		{"an event in two chunks", []string{"data: 1\n\n"}, []string{"data: 2", "\n\n", "data: 3\n\n"}, 1},
		{"its last byte alone", []string{"data: 1\n"}, []string{"\n", "data: 2\n\n"}, 0},
		{"bytes alone", []string{"data: 1\n\n"}, []string{"x", "\r", "\n", "\r", "\n"}, 3},
		{"nothing before", nil, []string{":\n\n"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, old := superseding(t, eventStream, c.before...)
			for i, chunk := range c.after {
				sent := len(old.ToClient().Body)
				old.ResponseBody([]byte(chunk), false)
				passed := string(old.ToClient().Body[sent:])
				switch {
				case i < c.at && passed != chunk:
					t.Fatalf("chunk %d: %q passed, want it as it is", i, passed)
				case i == c.at:
					rest, ok := strings.CutPrefix(passed, chunk)
					if !ok || !strings.HasPrefix(rest, "retry: 1") || !strings.HasSuffix(rest, "\nevent: streamlatch\ndata: {\"reason\":\"superseded\"}\n\n") {
						t.Fatalf("chunk %d: %q passed, want the goodbye after it", i, passed)
					}
				case i > c.at && passed != "":
					t.Fatalf("chunk %d: %q passed after the goodbye", i, passed)
				}
			}
			e.live(old, true)
			e.Run()
			e.superseded(old)
			e.counted(map[string]uint64{"events.active": 1, "events.superseded": 1, "lost_wakeups": 0})
		})
	}
}

// A goodbye that finds no place is given up after the grace, and so is one whose recall is lost.
func TestGraceEnds(t *testing.T) {
	t.Parallel()
	t.Run("silence", func(t *testing.T) {
		e, old := superseding(t, eventStream, "data: 1\n\n")
		e.Advance(4 * time.Second)
		e.live(old, true)
		e.Advance(2 * time.Second)
		e.superseded(old)
	})
	t.Run("recall lost", func(t *testing.T) {
		e, old := superseding(t, eventStream, "data: 1\n\n")
		old.ResponseBody([]byte("data: 2\n\n"), false)
		e.DropWakeups()
		e.live(old, true)
		e.Advance(2 * time.Second)
		e.superseded(old)
	})
}

// Where bytes cannot be put after those of the backend, the stream is reset at once.
func TestNoGoodbyeIsPossible(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"content-encoding", "content-length"} {
		response := host.Response(200, "content-type", "text/event-stream", header, "10")
		e, old := superseding(t, response, "data: 1\n\n")
		e.superseded(old)
	}
}

// The backend's own end, with bytes, comes between the goodbye and the reset: they do not pass.
func TestBackendEndsAfterTheGoodbye(t *testing.T) {
	t.Parallel()
	_, old := superseding(t, eventStream, "data: 1\n\n")
	old.ResponseBody([]byte("data: 2\n\n"), false)
	said := len(old.ToClient().Body)
	old.ResponseBody([]byte("data: 3\n\n"), true)
	if rest := old.ToClient().Body[said:]; len(rest) > 0 {
		t.Errorf("%q passed after the goodbye", rest)
	}
}

// A client that reconnects again and again, under rules that grant a long goodbye, does not pile up streams: what its own
// instance has replaced is reset at once, and without instances so is what is over a worker's share.
func TestGoodbyesDoNotPileUp(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]struct {
		config string
		most   int
	}{
		"instance":  {`"instance": [{"header": "x-client-id"}]`, 1},
		"unlimited": {`"takeover_limit": false`, 129},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, host.Config{PluginConfig: []byte(
				`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "goodbye_grace": "60s", ` + rule.config + `}]}`)})
			var streams []*host.Stream
			for range 400 {
				streams = append(streams, e.open(0, "alice"))
				e.Run()
			}
			if n := living(streams); n > rule.most {
				t.Errorf("%d streams live, want %d at most", n, rule.most)
			}
			e.Advance(62 * time.Second)
			if n := living(streams); n != 1 {
				t.Errorf("%d streams live after the grace, want 1", n)
			}
			if rule.most > 1 { // the share is free again
				last := streams[len(streams)-1]
				e.open(1, "alice")
				e.Run()
				last.ResponseBody([]byte("data: x\n\n"), false)
				if !strings.Contains(string(last.ToClient().Body), "event: streamlatch") {
					t.Error("nobody is said goodbye any more")
				}
			}
		})
	}
}

// A refusal by another such filter, further on the way, looks like an event stream and is none.
func TestRefusalFurtherOnIsNoStream(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	healthy := e.open(0, "alice")
	e.request(1, "alice").ResponseHeaders(host.Response(200, "content-type", "text/event-stream", "x-streamlatch-refused", "superseded"), false)
	e.Run()
	e.live(healthy, true)
	e.counted(map[string]uint64{"events.opened": 1, "events.superseded": 0, "events.active": 1})
}
