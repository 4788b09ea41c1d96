package host_test

import (
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// What Envoy does when a guest asks for two ends of one stream in one callback,
// measured on Envoy 1.40 with this guest. None of it is in any specification, and
// most of it breaks filters.
func TestEndingsThatMeet(t *testing.T) {
	t.Parallel()
	const start = "configure: tick 1000"
	tests := []struct {
		name    string
		scripts []string // of the stream
		tick    string   // script of one tick, if any
		want    []string // callbacks
		ending  host.Ending
		status  string // the client gets
	}{
		{"two resets log twice", []string{"request-headers", "close 0; close 1"}, "",
			[]string{"2 request-headers", "2 log", "2 log", "2 done", "2 delete"}, host.Reset, ""},
		{"three resets log thrice", []string{"request-headers", "close 0; close 0; close 0"}, "",
			[]string{"2 request-headers", "2 log", "2 log", "2 log", "2 done", "2 delete"}, host.Reset, ""},
		{"two resets in a tick", []string{"request-headers", "return 1"}, "effective 2; close 0; close 1",
			[]string{"2 request-headers", "1 tick", "2 log", "2 log", "2 done", "2 delete"}, host.Reset, ""},
		{"a reset in on_done logs again", []string{"request-headers", "close 0", "done", "close 0"}, "",
			[]string{"2 request-headers", "2 log", "2 done", "2 log", "2 delete"}, host.Reset, ""},
		{"a reset in on_delete logs again", []string{"request-headers", "close 0", "delete", "close 0"}, "",
			[]string{"2 request-headers", "2 log", "2 done", "2 delete", "2 log"}, host.Reset, ""},
		{"of two replies the first wins", []string{"request-headers", "reply 409 _ x; reply 410 _ y"}, "",
			[]string{"2 request-headers", "2 response-headers", "2 response-body", "2 log", "2 done", "2 delete"}, host.Completed, "409"},
		{"a reply to a reply wins over it", []string{"request-headers", "reply 409 _ x", "response-headers", "reply 410 _ y"}, "",
			[]string{"2 request-headers", "2 response-headers", "2 log", "2 done", "2 delete"}, host.Completed, "410"},
		{"a reply and a reset call a dead context", []string{"request-headers", "reply 409 _ x; close 0"}, "",
			[]string{"2 request-headers", "2 log", "2 done", "2 delete", "2 response-headers"}, host.Reset, ""},
		{"so do a reset and a reply", []string{"request-headers", "close 0; reply 409 _ x"}, "",
			[]string{"2 request-headers", "2 log", "2 done", "2 delete", "2 response-headers"}, host.Reset, ""},
		{"in a tick, a reset cuts the reply before it", []string{"request-headers", "return 1"}, "effective 2; reply 409 _ x; close 0",
			[]string{"2 request-headers", "1 tick", "2 response-headers", "2 log", "2 done", "2 delete"}, host.Reset, ""},
		{"and a reply goes out after the reset", []string{"request-headers", "return 1"}, "effective 2; close 0; reply 409 _ x",
			[]string{"2 request-headers", "1 tick", "2 log", "2 response-headers", "2 response-body", "2 done", "2 delete"}, host.Completed, "409"},
		{"a reply to the response outlives the reset before it", []string{"response-headers", "close 0; reply 409 _ x"}, "",
			[]string{"2 request-headers", "2 response-headers", "2 log", "2 done", "2 delete"}, host.Completed, "409"},
		{"a reset undoes a reply to the response", []string{"response-headers", "reply 409 _ x; close 0"}, "",
			[]string{"2 request-headers", "2 response-headers", "2 log", "2 log", "2 done", "2 delete"}, host.Reset, "409"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{}, start, "tick: "+tt.tick)
			s := open(w.Worker(0), tt.scripts...)
			if tt.tick != "" {
				w.Worker(0).Tick()
			}
			s.ResponseHeaders(host.Response(200), true)
			wantCallbacks(t, w.Logs().OfWorker(0), tt.want...)
			if s.Ending() != tt.ending {
				t.Errorf("ending: got %v, want %v", s.Ending(), tt.ending)
			}
			if got, _ := s.ToClient().Headers.Get(":status"); got != tt.status {
				t.Errorf("status: got %q, want %q", got, tt.status)
			}
			if n := w.Worker(0).Contexts(); n != 1 {
				t.Errorf("%d contexts are left, want the plugin's", n)
			}
		})
	}
}

// The context that is shown the headers of a reply after its end replies to them.
func TestReplyOfTheDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "unknown: reply 410 _ y")
	s := open(w.Worker(0), "request-headers", "reply 409 _ x; close 0")
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 log", "2 done", "2 delete", "2 response-headers")
	wantLog(t, w.Logs(), "2 response-headers", "unknown context", "reply 410 _ y -> Ok")
	if s.Ending() != host.Reset || s.ToClient().Headers != nil {
		t.Errorf("got %v, %+v", s.Ending(), s.ToClient())
	}
}

// The client has gone, and on_done replies to it.
func TestReplyInOnDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "request-headers", "return 1", "done", "reply 409 _ x")
	s.End()
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 log", "2 done", "2 response-headers", "2 delete")
	if s.LocalReply() != nil || s.ToClient().Headers != nil {
		t.Errorf("the dead were answered: %+v", s.ToClient())
	}
}

// Envoy recurses until it crashes; the host does not.
func TestResetInOwnLog(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"close 0", "reply 409 _ x"} {
		w := newWorld(t, host.Config{})
		s := open(w.Worker(0), "log", script)
		s.ResponseHeaders(host.Response(200), true)
		if !w.Worker(0).Failed() || len(w.Logs().Containing("Envoy crashes here")) != 1 {
			t.Errorf("%s in on_log: failed %v\n%s", script, w.Worker(0).Failed(), w.Logs())
		}
	}
}

// continue_stream in the headers callback itself lets the headers go, whatever
// the callback answers, and what follows them is held by the answer.
func TestContinueInItsOwnCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := w.Worker(0).Open(request("request-headers", "continue 0; return 1"))
	wantAction(t, s.RequestHeaders(false), host.StopAllIterationAndWatermark)
	if s.ToUpstream().Headers == nil {
		t.Error("the headers were held")
	}
	s.RequestBody([]byte("held"), true)
	if got := s.ToUpstream(); len(got.Body) > 0 || got.Complete {
		t.Errorf("the body was not held: %+v", got)
	}
	if twice := w.Logs().Containing("twice"); len(twice) > 0 {
		t.Errorf("log: %s", twice)
	}
	open(w.Worker(0), "request-headers", "continue 0; return 0")
	if twice := w.Logs().Containing("sends the headers on twice"); len(twice) != 1 {
		t.Errorf("a callback that continues and answers Continue went unnoticed:\n%s", w.Logs())
	}
	s = open(w.Worker(0), "response-body", "continue 1; return 1")
	s.ResponseHeaders(host.Response(200), false)
	s.ResponseBody([]byte("bo"), false)
	s.ResponseBody([]byte("dy"), true)
	if got := s.ToClient(); string(got.Body) != "body" || !got.Complete {
		t.Errorf("to client: got %+v", got)
	}
}

// What was held of a request does not go on after a local reply.
func TestContinueAfterLocalReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000", "tick: effective 2; continue 0")
	s := open(w.Worker(0), "request-headers", "reply 409 _ x", "response-headers", "return 1")
	w.Worker(0).Tick()
	if s.Ended() || s.ToUpstream().Headers != nil || s.ToClient().Headers != nil {
		t.Errorf("got %v, upstream %+v, client %+v", s.Ending(), s.ToUpstream(), s.ToClient())
	}
	wantAction(t, s.RequestBody([]byte("late"), true), host.None)
}

func TestLocalReplyToHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := w.Worker(0).Open(host.Request("HEAD", "/", "on-request-headers", "reply 409 _ body"))
	s.RequestHeaders(true)
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 response-headers", "2 log", "2 done", "2 delete")
	if v, _ := s.ToClient().Headers.Get("content-length"); v != "4" || len(s.ToClient().Body) > 0 {
		t.Errorf("to client: got %+v", s.ToClient())
	}
}
