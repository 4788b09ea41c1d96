package main_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// openHTTP3 opens an event stream over HTTP/3.
func (e *edge) openHTTP3(worker int, client string) *host.Stream {
	e.t.Helper()
	s := e.Worker(worker).Open(host.Request("GET", "/events", "accept", "text/event-stream", "x-client-id", client))
	s.SetProtocol(host.HTTP3)
	if got := s.RequestHeaders(true); got != host.Continue {
		e.t.Fatalf("request of %s: %v, want it to continue", client, got)
	}
	s.ResponseHeaders(eventStream, false)
	s.ResponseBody([]byte("data: hello\n\n"), false)
	return s
}

// Over HTTP/3 nobody tells the filter that a stream has ended in good order. Within three ticks
// the filter asks Envoy about each of its streams, and gives the places back.
func TestStreamsThatEnvoyHasForgotten(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 1200} {
		e := newEdge(t, host.Config{})
		var streams []*host.Stream
		for i := range n {
			streams = append(streams, e.openHTTP3(0, strconv.Itoa(i)))
		}
		healthy := e.openHTTP3(0, "healthy")
		for _, s := range streams {
			s.ResponseBody(nil, true)
			e.live(s, false)
		}
		e.counted(map[string]uint64{"events.active": uint64(n) + 1, "events.released": 0})
		e.Advance(3 * time.Second)
		e.counted(map[string]uint64{"events.active": 1, "events.released": uint64(n), "lost_wakeups": 0})
		e.live(healthy, true)
	}
}

// A client comes back before the tick has found that its old stream is gone. The old stream's owner
// learns it when it is to reset the stream, and resets nothing.
func TestTakeoverOfAStreamThatEnvoyHasForgotten(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	old := e.openHTTP3(0, "alice")
	old.ResponseBody(nil, true)
	again := e.openHTTP3(1, "alice")
	e.Run()
	if got := old.Ending(); got != host.Completed {
		t.Errorf("the old stream: %v, want it completed", got)
	}
	e.live(again, true)
	e.counted(map[string]uint64{"events.active": 1, "events.superseded": 1, "events.released": 0})
	e.Advance(3 * time.Second)
	e.counted(map[string]uint64{"events.active": 1, "lost_wakeups": 0})
}

// A request that waits for such a stream goes on as soon as the stream's owner has looked for it.
func TestWaitForAStreamThatEnvoyHasForgotten(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(
		`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "claim_at": "request"}]}`)})
	old := e.openHTTP3(0, "alice")
	old.ResponseBody(nil, true)
	s := e.Worker(1).Open(host.Request("GET", "/events", "accept", "text/event-stream", "x-client-id", "alice"))
	if got := s.RequestHeaders(true); got == host.Continue {
		t.Fatalf("request: %v, want it to wait", got)
	}
	e.Run()
	if s.ToUpstream().Headers == nil {
		t.Error("the request still waits")
	}
}
