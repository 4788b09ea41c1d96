package main_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// A client opens a second stream. The first is reset, whichever worker holds it.
func TestTakeover(t *testing.T) {
	for name, second := range map[string]int{"same worker": 0, "another worker": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, host.Config{Workers: 4})
			old := e.open(0, "alice")
			other := e.open(0, "bob")
			fresh := e.open(second, "alice")
			e.live(old, true) // its worker has not read the message yet
			e.Run()

			e.superseded(old)
			e.live(fresh, true)
			e.live(other, true)
			e.counted(map[string]uint64{"events.opened": 3, "events.superseded": 1, "events.released": 0, "events.active": 2})

			fresh.ResponseBody([]byte("data: still here\n\n"), false)
			if got := string(fresh.ToClient().Body); !strings.HasSuffix(got, "data: still here\n\n") {
				t.Errorf("the client of the new stream has received %q, want the last event at its end", got)
			}
		})
	}
}

// The client of a superseded stream hangs up before its worker hears of the takeover. The release
// must not remove the successor.
func TestReleaseAfterSupersede(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{Workers: 4})
	old := e.open(0, "alice")
	fresh := e.open(1, "alice")
	old.End() // before its worker hears of the takeover
	e.Run()
	e.counted(map[string]uint64{"events.active": 1, "events.released": 0})

	third := e.open(2, "alice")
	e.Run()
	e.superseded(fresh)
	e.live(third, true)

	third.End()
	e.counted(map[string]uint64{"events.active": 0, "events.released": 1, "events.opened": 3, "events.superseded": 2})
}

// A client that goes away frees its place. Its next stream supersedes nothing.
func TestRelease(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	e.open(0, "alice").End()
	e.counted(map[string]uint64{"events.active": 0, "events.released": 1})
	e.open(1, "alice")
	e.counted(map[string]uint64{"events.active": 1, "events.superseded": 0})
}

// With max_streams 2, the oldest of three streams yields.
func TestMaxStreams(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{Workers: 4, PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "max_streams": 2}]}`)})
	var streams []*host.Stream
	for i := range 5 {
		streams = append(streams, e.open(i%4, "alice"))
		e.Run()
	}
	for i, s := range streams {
		e.live(s, i >= 3)
	}
	e.counted(map[string]uint64{"events.active": 2, "events.superseded": 3})
}

// A request that the backend does not answer with an event stream must not end a healthy stream.
func TestOnlyAnEventStreamTakesOver(t *testing.T) {
	for name, c := range map[string]struct {
		response    host.Headers
		endOfStream bool
	}{
		"unauthorized":            {host.Response(401, "content-type", "text/plain"), false},
		"backend is down":         {host.Response(503), true},
		"error with SSE's type":   {host.Response(500, "content-type", "text/event-stream"), false},
		"no content":              {host.Response(204), true},
		"JSON":                    {host.Response(200, "content-type", "application/json"), false},
		"a type that begins so":   {host.Response(200, "content-type", "text/event-streamer"), false},
		"a type in a parameter":   {host.Response(200, "content-type", "text/html; a=text/event-stream"), false},
		"no content type":         {host.Response(200), false},
		"an answer to HEAD":       {eventStream, true},
		"partial content":         {host.Response(206, "content-type", "text/event-stream"), false},
		"an empty content type":   {host.Response(200, "content-type", ""), false},
		"a type of another class": {host.Response(200, "content-type", "application/text/event-stream"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, host.Config{})
			old := e.open(0, "alice")
			attempt := e.request(1, "alice")
			attempt.ResponseHeaders(c.response, c.endOfStream)
			e.Run()
			e.Tick()
			e.live(old, true)
			attempt.End()
			e.counted(map[string]uint64{"events.opened": 1, "events.superseded": 0, "events.active": 1, "events.released": 0})
		})
	}
}

// A media type may have upper case, parameters and spaces.
func TestContentTypeSpellings(t *testing.T) {
	for _, contentType := range []string{"text/event-stream", "Text/Event-Stream", "text/event-stream;charset=utf-8", " text/event-stream ; charset=utf-8"} {
		t.Run(contentType, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, host.Config{})
			s := e.request(0, "alice")
			s.ResponseHeaders(host.Response(200, "content-type", contentType), false)
			e.counted(map[string]uint64{"events.opened": 1, "events.active": 1})
		})
	}
}

// A POST that is answered with an event stream is a stream. MCP and LLM clients use it.
func TestPost(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	old := e.open(0, "agent")
	s := e.Worker(1).Open(host.Request("POST", "/mcp", "accept", "application/json, text/event-stream", "x-client-id", "agent"))
	s.RequestHeaders(false)
	s.RequestBody([]byte(`{"method": "tools/call"}`), true)
	s.ResponseHeaders(eventStream, false)
	e.Run()
	e.superseded(old)
	e.live(s, true)
}

// In observe mode everything is counted and no stream is ended, neither by a message nor by a tick.
func TestObserve(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{Workers: 4, PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "mode": "observe"}]}`)})
	first, second := e.open(0, "alice"), e.open(1, "alice")
	e.Run()
	third := e.open(2, "alice")
	e.DropWakeups()
	for range 3 {
		e.Tick()
	}
	for _, s := range []*host.Stream{first, second, third} {
		e.live(s, true)
	}
	e.counted(map[string]uint64{"events.opened": 3, "events.superseded": 2, "events.active": 1})
	first.End()
	second.End()
	e.counted(map[string]uint64{"events.active": 1, "events.released": 0})
	third.End()
	e.counted(map[string]uint64{"events.active": 0, "events.released": 1})
}

// A request without a rule costs one read of a header, and nothing is read of its response.
func TestOtherRequestsCostOneHeaderRead(t *testing.T) {
	t.Parallel()
	calls := map[string]int{}
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [
		{"name": "events", "match": {"path": {"prefix": "/events"}, "headers": [{"name": "accept", "contains": "text/event-stream"}]}, "client": [{"query": "c"}]},
		{"name": "mcp", "match": {"methods": ["POST"], "headers": [{"name": "accept", "contains": "text/event-stream"}]}, "client": [{"header": "mcp-session-id"}]}]}`)})
	e.Intercept(func(c *host.Call) { calls[c.Name]++ })
	s := e.Worker(0).Open(host.Request("GET", "/api/users?c=1", "accept", "application/json", "mcp-session-id", "x"))
	s.RequestHeaders(false)
	s.RequestBody([]byte("x"), true)
	s.ResponseHeaders(host.Response(200, "content-type", "text/event-stream"), false)
	s.ResponseBody([]byte("y"), true)
	if got := fmt.Sprint(calls); got != "map[proxy_get_header_map_value:1]" {
		t.Errorf("hostcalls %s, want one header read", got)
	}
	if s.Ending() != host.Completed {
		t.Errorf("ending %v, want it completed", s.Ending())
	}
}

// A request without a client key passes untracked, and is counted.
func TestNoKey(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	for _, id := range []host.Headers{host.Request("GET", "/events"), host.Request("GET", "/events", "x-client-id", "")} {
		s := e.Worker(0).Open(id)
		s.RequestHeaders(true)
		s.ResponseHeaders(eventStream, false)
		e.live(s, true)
	}
	e.counted(map[string]uint64{"events.no_key": 2, "events.opened": 0, "events.active": 0})
	if len(e.Queues()) != 0 {
		t.Errorf("queues %v, want none: a request without a client key makes no plugin context a worker", e.Queues())
	}
}

// Histograms have the ages of streams at their end, and of superseded streams.
func TestAges(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	e.open(0, "alice")
	e.SkipTime(1500e6)
	s := e.open(1, "alice")
	e.Run()
	e.SkipTime(250e6)
	s.End()
	m := e.Metrics()
	if got := fmt.Sprint(m.Histograms["streamlatch.events.superseded_age_ms"], m.Histograms["streamlatch.events.duration_ms"]); got != "[1500] [1500 250]" {
		t.Errorf("superseded_age_ms and duration_ms: %s, want [1500] [1500 250]", got)
	}
}
