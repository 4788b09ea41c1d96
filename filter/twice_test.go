package main_test

import (
	"fmt"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// passage is a request that passes two filters of one chain. The test host has one filter in its
// chain, so the request is two streams. They share what a filter state is: Envoy keeps it with the
// request.
type passage struct{ first, second *host.Stream }

func (e *edge) passTwice(first, second *host.Listener, worker int, client string) passage {
	e.t.Helper()
	request := host.Request("GET", "/events", "accept", "text/event-stream", "x-client-id", client)
	p := passage{first.Open(worker, request), second.Open(worker, request)}
	before := e.shared
	e.shared = func(c *host.Call) {
		for _, s := range []*host.Stream{p.first, p.second} {
			if c.Worker != worker || c.ContextID != s.ID() {
				continue
			}
			c.Proceed()
			if mark, ok := s.FilterState()["wasm.streamlatch.mark"]; ok {
				p.first.SetProperty([]byte(mark), "streamlatch.mark")
				p.second.SetProperty([]byte(mark), "streamlatch.mark")
			}
		}
		if before != nil {
			before(c)
		}
	}
	e.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_property" {
			e.shared(c)
		}
	})
	for _, s := range []*host.Stream{p.first, p.second} {
		s.RequestHeaders(true)
		e.Run() // it may wait for a stream that it supersedes
		if !through(s) {
			e.t.Errorf("the request of %s does not go on", client)
		}
	}
	for _, s := range []*host.Stream{p.second, p.first} {
		s.ResponseHeaders(eventStream, false)
		s.ResponseBody([]byte("data: hello\n\n"), false)
	}
	e.Run()
	return p
}

// One request passes two filters with the same vm_id, whose rules have the same name. It is one
// stream, and must not end itself. Another request of the client is another stream.
func TestOneRequestPassesTwoFilters(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{true, false} {
		for _, claimAt := range []string{"response", "request"} {
			for _, onDuplicate := range []string{"reset_previous", "reject_new"} {
				t.Run(fmt.Sprintf("one configuration %t, claim at %s, %s", same, claimAt, onDuplicate), func(t *testing.T) {
					t.Parallel()
					config := func(retry int) string {
						return fmt.Sprintf(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "takeover_limit": false,
							"claim_at": %q, "on_duplicate": %q, "retry": "%ds"}]}`, claimAt, onDuplicate, retry)
					}
					e := newEdge(t, host.Config{PluginConfig: []byte(config(15))})
					first, second := e.Listeners()[0], e.listen(config(15))
					if !same {
						second = e.listen(config(16))
					}
					old := e.passTwice(first, second, 0, "alice")
					e.live(old.first, true)
					e.live(old.second, true)
					e.counted(map[string]uint64{"events.opened": 1, "events.active": 1, "events.superseded": 0, "events.refused_duplicate": 0})

					if onDuplicate == "reset_previous" {
						for worker := range 2 {
							next := e.passTwice(first, second, worker, "alice")
							if old.first.Ended() == old.second.Ended() {
								t.Errorf("filters that end the old request: %t, %t; want one", old.first.Ended(), old.second.Ended())
							}
							old.first.End()
							old.second.End()
							e.live(next.first, true)
							e.live(next.second, true)
							old = next
						}
						e.counted(map[string]uint64{"events.opened": 3, "events.active": 1, "events.superseded": 2})
					} else if _, ok := e.ask(0, "alice"); ok {
						t.Error("a second request of the client is let in")
					}
					old.first.End()
					old.second.End()
					e.counted(map[string]uint64{"events.active": 0})
				})
			}
		}
	}
}
