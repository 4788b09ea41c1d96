package main_test

import (
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

const atRequest = `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "claim_at": "request"}]}`

// ask lets a request for an event stream arrive. through says whether it went on to the backend at
// once.
func (e *edge) ask(worker int, client string) (s *host.Stream, through bool) {
	e.t.Helper()
	s = e.Worker(worker).Open(host.Request("GET", "/events", "accept", "text/event-stream", "x-client-id", client))
	return s, s.RequestHeaders(true) == host.Continue
}

// through reports whether the backend has the request.
func through(s *host.Stream) bool { return len(s.ToUpstream().Headers) > 0 }

// Some backends reject a client whose old stream is still open. With claim_at request the old
// stream has ended before the backend sees the new request.
func TestRequestWaitsForTheOldStreamsEnd(t *testing.T) {
	t.Parallel()
	for name, worker := range map[string]int{"same worker": 0, "another": 1} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, host.Config{PluginConfig: []byte(atRequest)})
			old, ok := e.ask(0, "alice")
			if !ok {
				t.Fatal("the first request waits, but no stream has to end for it")
			}
			old.ResponseHeaders(eventStream, false)
			var order []string
			e.Intercept(func(c *host.Call) {
				if c.Name == "proxy_close_stream" || c.Name == "proxy_continue_stream" {
					order = append(order, c.Name)
				}
			})
			fresh, ok := e.ask(worker, "alice")
			if ok || through(fresh) {
				t.Fatal("the request went on to the backend before the old stream ended")
			}
			e.Run()
			e.superseded(old)
			if !through(fresh) {
				t.Fatal("the request still waits after the old stream has ended")
			}
			if len(order) != 2 || order[0] != "proxy_close_stream" {
				t.Errorf("calls %v, want the reset and then the request", order)
			}
			fresh.ResponseHeaders(eventStream, false)
			e.live(fresh, true)
			e.counted(map[string]uint64{"events.opened": 2, "events.superseded": 1, "events.active": 1, "lost_wakeups": 0})
		})
	}
}

// A request does not wait for ever if the message is lost or the old stream's worker has died.
func TestWaitHasALimit(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*edge){
		"wake-ups lost": func(e *edge) { e.DropWakeups() },
		"worker dead":   func(e *edge) { e.Worker(0).Crash() },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, host.Config{PluginConfig: []byte(atRequest)})
			old, _ := e.ask(0, "alice")
			old.ResponseHeaders(eventStream, false)
			fresh, ok := e.ask(1, "alice")
			if ok {
				t.Fatal("the request went on at once, want it to wait")
			}
			fault(e)
			e.Advance(2 * time.Second)
			if !through(fresh) {
				t.Error("the request still waits after two seconds")
			}
			fresh.ResponseHeaders(eventStream, false)
			e.live(fresh, true)
		})
	}
}

// While a request waits, the old stream may end by itself, the waiting client may leave, and a
// third stream may supersede the request.
func TestWaitIsCutShort(t *testing.T) {
	t.Parallel()
	t.Run("old stream ends", func(t *testing.T) {
		e := newEdge(t, host.Config{Workers: 4, PluginConfig: []byte(atRequest)})
		old, _ := e.ask(0, "alice")
		old.ResponseHeaders(eventStream, false)
		fresh, _ := e.ask(1, "alice")
		old.End()
		e.Run()
		if !through(fresh) {
			t.Error("the request still waits for a stream that has ended")
		}
	})
	t.Run("client leaves", func(t *testing.T) {
		e := newEdge(t, host.Config{Workers: 4, PluginConfig: []byte(atRequest)})
		old, _ := e.ask(0, "alice")
		old.ResponseHeaders(eventStream, false)
		fresh, _ := e.ask(1, "alice")
		fresh.End()
		e.Run()
		e.Advance(3 * time.Second)
		e.superseded(old)
		e.counted(map[string]uint64{"events.active": 0, "events.superseded": 1})
	})
	t.Run("superseded in turn", func(t *testing.T) {
		e := newEdge(t, host.Config{Workers: 4, PluginConfig: []byte(atRequest)})
		old, _ := e.ask(0, "alice")
		old.ResponseHeaders(eventStream, false)
		second, _ := e.ask(1, "alice")
		third, _ := e.ask(2, "alice")
		e.Run()
		e.superseded(old)
		e.superseded(second)
		if through(second) || !through(third) {
			t.Errorf("second request let through: %v, third: %v; want the third alone", through(second), through(third))
		}
	})
}

// In a rule that only observes no request waits.
func TestObserverWaitsForNobody(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "claim_at": "request", "mode": "observe"}]}`)})
	e.ask(0, "alice")
	if _, ok := e.ask(1, "alice"); !ok {
		t.Error("the request waits, want it to go on at once")
	}
}

// A request whose response cannot be an event stream claims nothing, and ends nothing.
func TestOnlyWhatCanStreamClaims(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]host.Headers{
		"HEAD":    host.Request("HEAD", "/events", "x-client-id", "alice"),
		"OPTIONS": host.Request("OPTIONS", "/events", "x-client-id", "alice"),
		"upgrade": host.Request("GET", "/events", "x-client-id", "alice", "upgrade", "websocket", "connection", "upgrade"),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, host.Config{PluginConfig: []byte(atRequest)})
			live := e.open(0, "alice")
			s := e.Worker(1).Open(request)
			if got := s.RequestHeaders(true); got != host.Continue {
				t.Errorf("the request: %v, want it to continue", got)
			}
			e.Run()
			s.ResponseHeaders(host.Response(204), true)
			s.End()
			e.live(live, true)
			e.counted(map[string]uint64{"events.active": 1, "events.superseded": 0})
		})
	}
}
