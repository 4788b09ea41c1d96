package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// calls lets each session have one call with an event stream at a time.
const calls = `{"rules": [{"name": "events", "client": [{"header": "mcp-session-id"}], "claim_at": "request", "on_duplicate": "reject_new", "retry": "1s"}]}`

const aCall = `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"},"id":7}`

// call lets the headers of a POST of MCP arrive.
func (e *edge) call(worker int, session string) *host.Stream {
	s := e.Worker(worker).Open(host.Request("POST", "/mcp", "accept", "application/json, text/event-stream",
		"mcp-protocol-version", "2025-11-25", "mcp-session-id", session))
	s.RequestHeaders(false)
	return s
}

// busy opens a session's only stream.
func (e *edge) busy(session string) *host.Stream {
	e.t.Helper()
	s := e.call(0, session)
	if got := s.RequestBody([]byte(aCall), true); got != host.Continue || string(s.ToUpstream().Body) != aCall {
		e.t.Fatalf("a call that has a place: action %v, the backend got %q", got, s.ToUpstream().Body)
	}
	s.ResponseHeaders(eventStream, false)
	return s
}

// wantRefusedCall fails the test unless the call was answered as failed, in a response that clients
// of MCP tell from the failure of their session.
func wantRefusedCall(t *testing.T, s *host.Stream, id, reason string) {
	t.Helper()
	reply := s.LocalReply()
	if reply == nil {
		t.Fatal("the call was not refused")
	}
	var body struct {
		ID    json.RawMessage
		Error struct{ Data struct{ Reason string } }
	}
	if err := json.Unmarshal(reply.Body, &body); err != nil || reply.Status != 200 || string(body.ID) != id || body.Error.Data.Reason != reason {
		t.Errorf("got status %d and %s (%v), want 200 and an error with the id %s because of %s", reply.Status, reply.Body, err, id, reason)
	}
	if got := s.FilterState()["wasm.streamlatch.reason"]; got != "refused_"+reason {
		t.Errorf("got the reason %q, want refused_%s", got, reason)
	}
}

// An error status would end the whole session of some clients, so a refused call gets an answer
// with its id, which is in the body.
func TestRefusedCall(t *testing.T) {
	t.Parallel()
	for name, pieces := range map[string][]string{
		"whole":     {aCall},
		"in pieces": {aCall[:10], aCall[10:11], aCall[11:]},
		"at the largest size": {`{"params":"` + strings.Repeat("x", 128<<10-len(`{"params":"","method":"a","id":7}`)),
			`","method":"a","id":7}`},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, host.Config{PluginConfig: []byte(calls)})
			e.busy("s")
			s := e.call(1, "s")
			for i, piece := range pieces {
				s.RequestBody([]byte(piece), i == len(pieces)-1)
			}
			wantRefusedCall(t, s, "7", "duplicate")
			if got := s.ToUpstream().Body; len(got) > 0 {
				t.Errorf("the backend got %q", got)
			}
			e.counted(map[string]uint64{"events.opened": 1, "events.refused_duplicate": 1, "events.active": 1})
		})
	}
	t.Run("with trailers", func(t *testing.T) {
		e := newEdge(t, host.Config{PluginConfig: []byte(calls)})
		e.busy("s")
		s := e.call(1, "s")
		s.RequestBody([]byte(aCall), false)
		s.RequestTrailers(host.Headers{{Name: "x", Value: "y"}})
		wantRefusedCall(t, s, "7", "duplicate")
	})
	t.Run("back too early", func(t *testing.T) {
		e := newEdge(t, host.Config{PluginConfig: []byte(strings.Replace(calls, "1s", "1m", 1))})
		e.busy("s")
		e.call(0, "s").RequestBody([]byte(aCall), true)
		s := e.call(0, "s")
		s.RequestBody([]byte(aCall), true)
		if s.LocalReply() != nil {
			t.Fatal("the second call was answered at once, want it held")
		}
		e.Advance(2 * time.Second)
		wantRefusedCall(t, s, "7", "duplicate")
	})
}

// What no answer with an id fits gets a status.
func TestRefusedWithAStatus(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"batch":     "[" + aCall + "]",
		"no JSON":   "hello",
		"empty":     "",
		"too large": `{"id":7,"method":"a","params":"` + strings.Repeat("x", 128<<10) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, host.Config{PluginConfig: []byte(calls)})
			e.busy("s")
			s := e.call(1, "s")
			s.RequestBody([]byte(body), true)
			if reply := s.LocalReply(); reply == nil || reply.Status != 409 {
				t.Errorf("got %+v, want status 409", reply)
			}
		})
	}
	t.Run("no body", func(t *testing.T) {
		e := newEdge(t, host.Config{PluginConfig: []byte(calls)})
		e.busy("s")
		s := e.Worker(1).Open(host.Request("POST", "/mcp", "mcp-protocol-version", "2025-11-25", "mcp-session-id", "s"))
		s.RequestHeaders(true)
		if reply := s.LocalReply(); reply == nil || reply.Status != 409 {
			t.Errorf("got %+v, want status 409", reply)
		}
	})
	t.Run("never ends, and grows too large", func(t *testing.T) {
		e := newEdge(t, host.Config{PluginConfig: []byte(calls)})
		e.busy("s")
		s := e.call(1, "s")
		for range 5 {
			if s.LocalReply() == nil {
				s.RequestBody(make([]byte, 64<<10), false)
			}
		}
		if reply := s.LocalReply(); reply == nil || reply.Status != 409 {
			t.Errorf("got %+v, want status 409", reply)
		}
	})
	t.Run("the backend answers before the body has come", func(t *testing.T) {
		e := newEdge(t, host.Config{PluginConfig: []byte(calls)})
		e.busy("s")
		s := e.call(1, "s")
		s.RequestBody([]byte("{"), false)
		s.ResponseHeaders(eventStream, false)
		if reply := s.LocalReply(); reply == nil || reply.Status != 409 {
			t.Errorf("got %+v, want status 409", reply)
		}
	})
}

// A notification, or the client's response to its server, opens no stream. The server may wait for
// it, so it passes.
func TestNoticesPass(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(calls)})
	e.busy("s")
	for _, body := range []string{`{"jsonrpc":"2.0","method":"notifications/cancelled"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`} {
		s := e.call(1, "s")
		if got := s.RequestBody([]byte(body), true); got != host.Continue || string(s.ToUpstream().Body) != body {
			t.Errorf("%s: got %v, and %q at the backend", body, got, s.ToUpstream().Body)
		}
		s.ResponseHeaders(host.Response(202), true)
	}
	e.counted(map[string]uint64{"events.opened": 1, "events.refused_duplicate": 0, "events.active": 1})
}

// A body that is no call to the filter may be one to a backend that reads names in any case. Its
// event stream wants a place like all others.
func TestNoticeThatOpensAStream(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(calls)})
	old := e.busy("s")
	s := e.call(1, "s")
	if got := s.RequestBody([]byte(`{"jsonrpc":"2.0","Method":"tools/call","id":8}`), true); got != host.Continue {
		t.Fatalf("got %v, want the body to pass", got)
	}
	s.ResponseHeaders(eventStream, false)
	if reply := s.LocalReply(); reply == nil || reply.Status != 409 {
		t.Errorf("got %+v, want status 409", reply)
	}
	e.live(old, true)
	e.counted(map[string]uint64{"events.opened": 1, "events.refused_duplicate": 1, "events.active": 1})
}

// A place may become free while the body is on its way.
func TestCallIsDecidedAgain(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(calls)})
	old := e.busy("s")
	s := e.call(1, "s")
	s.RequestBody([]byte(aCall[:20]), false)
	old.End()
	if got := s.RequestBody([]byte(aCall[20:]), true); got != host.Continue || string(s.ToUpstream().Body) != aCall {
		t.Errorf("got %v, and %q at the backend, want the whole call", got, s.ToUpstream().Body)
	}
	s.ResponseHeaders(eventStream, false)
	e.live(s, true)
	e.counted(map[string]uint64{"events.opened": 2, "events.refused_duplicate": 0, "events.active": 1})
}

// A rule that only observes lets a call through that it would have refused.
func TestObservedCall(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(strings.Replace(calls, `"retry"`, `"mode": "observe", "retry"`, 1))})
	e.busy("s")
	s := e.call(1, "s")
	if got := s.RequestBody([]byte(aCall), true); got != host.Continue || s.LocalReply() != nil {
		t.Errorf("got %v and %v, want the call to pass", got, fmt.Sprint(s.LocalReply()))
	}
	e.counted(map[string]uint64{"events.refused_duplicate": 1})
}
