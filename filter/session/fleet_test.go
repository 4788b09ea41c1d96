//go:build !wasip1

package session

import "testing"

const inFleet = `"fleet": {"clusters": ["etcd"], "secret": "000102030405060708090a0b0c0d0e0f"}`

// knows fails the test unless the fleet knows so many of the worker's streams.
func (h *fakeHost) knows(want int) {
	h.t.Helper()
	all := 0
	for _, m := range h.worker.fleet.members {
		n, _ := m.Streams()
		all += n
	}
	if all != want {
		h.t.Errorf("the fleet knows %d streams, want %d", all, want)
	}
}

// fail fails a call to etcd, and then those that follow.
func (h *fakeHost) fail(call uint32) {
	h.t.Helper()
	h.silent = false
	h.call(inCall, nil, func() { h.worker.CallFailed(call, 14, "no answer") })
}

// A request passes two filters. The one that does not claim it leaves nothing in the fleet.
func TestFleetForgetsARequestOfAnotherFilter(t *testing.T) {
	w := newEdge(t).worker(configured(`"max_streams": 2`, inFleet))
	twin := w.open("alice")
	x := w.ask("alice")
	w.knows(2)
	w.same = func(context uint32) bool { return context == twin.id }
	x.answer(eventStream)
	x.end(byClient)
	w.knows(1)
}

// Envoy answers itself while the request, or the response, waits for etcd.
func TestEnvoyAnswersWhatWaits(t *testing.T) {
	for name, c := range map[string]struct {
		rule   string
		answer fields
	}{
		"looking":                   {"", fields{":status": "504"}},
		"looking, an event stream":  {"", eventStream},
		"claiming":                  {`"claim_at": "request"`, fields{":status": "504"}},
		"claiming, an event stream": {`"claim_at": "request"`, eventStream},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEdge(t).worker(configured(c.rule, inFleet))
			w.silent = true
			x := w.ask("alice")
			if !x.waits {
				t.Fatal("the request does not wait")
			}
			x.waits = false
			x.answer(c.answer)
			w.knows(0)
			w.fail(1)
			if x.action != Continue || x.resets > 0 {
				t.Errorf("action %d, %d resets, want Envoy's answer to pass", x.action, x.resets)
			}
			x.end(byClient)
		})
	}
}
