package host_test

import (
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// What Envoy does with two endings of one stream in one callback. Measured on Envoy 1.40 with this
// guest. No specification says it, and filters do not expect most of it.
func TestCombinedEndings(t *testing.T) {
	t.Parallel()
	const start = "configure: tick 1000"
	tests := []struct {
		name    string
		scripts []string // the stream's scripts
		tick    string   // if not empty, the script of one tick
		want    []string // the callbacks
		ending  host.Ending
		status  string // at the client
	}{
		{"two resets call on_log twice", []string{"request-headers", "close 0; close 1"}, "",
			[]string{"2 request-headers", "2 log", "2 log", "2 done", "2 delete"}, host.Reset, ""},
		{"three resets call on_log three times", []string{"request-headers", "close 0; close 0; close 0"}, "",
			[]string{"2 request-headers", "2 log", "2 log", "2 log", "2 done", "2 delete"}, host.Reset, ""},
		{"two resets in a tick", []string{"request-headers", "return 1"}, "effective 2; close 0; close 1",
			[]string{"2 request-headers", "1 tick", "2 log", "2 log", "2 done", "2 delete"}, host.Reset, ""},
		{"a reset in on_done calls on_log again", []string{"request-headers", "close 0", "done", "close 0"}, "",
			[]string{"2 request-headers", "2 log", "2 done", "2 log", "2 delete"}, host.Reset, ""},
		{"a reset in on_delete calls on_log again", []string{"request-headers", "close 0", "delete", "close 0"}, "",
			[]string{"2 request-headers", "2 log", "2 done", "2 delete", "2 log"}, host.Reset, ""},
		{"two replies: the first is sent", []string{"request-headers", "reply 409 _ x; reply 410 _ y"}, "",
			[]string{"2 request-headers", "2 response-headers", "2 response-body", "2 log", "2 done", "2 delete"}, host.Completed, "409"},
		{"a reply to a reply: the second is sent", []string{"request-headers", "reply 409 _ x", "response-headers", "reply 410 _ y"}, "",
			[]string{"2 request-headers", "2 response-headers", "2 log", "2 done", "2 delete"}, host.Completed, "410"},
		{"a reply and a reset call on_response_headers after on_delete", []string{"request-headers", "reply 409 _ x; close 0"}, "",
			[]string{"2 request-headers", "2 log", "2 done", "2 delete", "2 response-headers"}, host.Reset, ""},
		{"a reset and a reply do the same", []string{"request-headers", "close 0; reply 409 _ x"}, "",
			[]string{"2 request-headers", "2 log", "2 done", "2 delete", "2 response-headers"}, host.Reset, ""},
		{"a reply and a reset in a tick: the reply is cut", []string{"request-headers", "return 1"}, "effective 2; reply 409 _ x; close 0",
			[]string{"2 request-headers", "1 tick", "2 response-headers", "2 log", "2 done", "2 delete"}, host.Reset, ""},
		{"a reset and a reply in a tick: the reply is sent", []string{"request-headers", "return 1"}, "effective 2; close 0; reply 409 _ x",
			[]string{"2 request-headers", "1 tick", "2 log", "2 response-headers", "2 response-body", "2 done", "2 delete"}, host.Completed, "409"},
		{"a reset and a reply to the response: the reply is sent", []string{"response-headers", "close 0; reply 409 _ x"}, "",
			[]string{"2 request-headers", "2 response-headers", "2 log", "2 done", "2 delete"}, host.Completed, "409"},
		{"a reply to the response and a reset: the reply is cut", []string{"response-headers", "reply 409 _ x; close 0"}, "",
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
				t.Errorf("got the ending %v, want %v", s.Ending(), tt.ending)
			}
			if got, _ := s.ToClient().Headers.Get(":status"); got != tt.status {
				t.Errorf("got the status %q at the client, want %q", got, tt.status)
			}
			if n := w.Worker(0).Contexts(); n != 1 {
				t.Errorf("got %d contexts, want only the plugin's", n)
			}
		})
	}
}

// A context that is shown a reply after on_delete replies to it. Nothing is sent.
func TestReplyAfterDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "unknown: reply 410 _ y")
	s := open(w.Worker(0), "request-headers", "reply 409 _ x; close 0")
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 log", "2 done", "2 delete", "2 response-headers")
	wantLog(t, w.Logs(), "2 response-headers", "unknown context", "reply 410 _ y -> Ok")
	if s.Ending() != host.Reset || s.ToClient().Headers != nil {
		t.Errorf("got %v, to client %+v; want reset, nothing", s.Ending(), s.ToClient())
	}
}

// on_done replies to a client that has gone. Nothing is sent.
func TestReplyInOnDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "request-headers", "return 1", "done", "reply 409 _ x")
	s.End()
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 log", "2 done", "2 response-headers", "2 delete")
	if s.LocalReply() != nil || s.ToClient().Headers != nil {
		t.Errorf("got local reply %+v, to client %+v; want neither", s.LocalReply(), s.ToClient())
	}
}

// A stream that ends itself in on_log makes Envoy recurse until it crashes. In this host its VM
// fails.
func TestResetInOwnLog(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"close 0", "reply 409 _ x"} {
		w := newWorld(t, host.Config{})
		s := open(w.Worker(0), "log", script)
		s.ResponseHeaders(host.Response(200), true)
		if !w.Worker(0).Failed() || len(w.Logs().Containing("Envoy crashes here")) != 1 {
			t.Errorf("%s in on_log: got failed %v, want true and one line that says so:\n%s", script, w.Worker(0).Failed(), w.Logs())
		}
	}
}

// Over HTTP/2 the second of two resets does nothing.
func TestTwoResetsOverHTTP2(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := w.Worker(0).Open(request("request-headers", "close 0; close 1"))
	s.SetProtocol(host.HTTP2)
	s.RequestHeaders(true)
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 log", "2 done", "2 delete")
}

// proxy_continue_stream in the headers callback sends the headers on, whatever the callback
// returns. Its result applies to what follows the headers.
func TestContinueInItsOwnCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := w.Worker(0).Open(request("request-headers", "continue 0; return 1"))
	wantAction(t, s.RequestHeaders(false), host.StopAllIterationAndWatermark)
	if s.ToUpstream().Headers == nil {
		t.Error("got no headers at the upstream, want them in spite of the result Stop")
	}
	s.RequestBody([]byte("held"), true)
	if got := s.ToUpstream(); len(got.Body) > 0 || got.Complete {
		t.Errorf("to upstream: got %+v, want the body held", got)
	}
	if twice := w.Logs().Containing("twice"); len(twice) > 0 {
		t.Errorf("want no log line about headers that are sent twice, got\n%s", twice)
	}
	open(w.Worker(0), "request-headers", "continue 0; return 0")
	if twice := w.Logs().Containing("sends the headers twice"); len(twice) != 1 {
		t.Errorf("want one log line about headers that are sent twice, got\n%s", w.Logs())
	}
	s = open(w.Worker(0), "response-body", "continue 1; return 1")
	s.ResponseHeaders(host.Response(200), false)
	s.ResponseBody([]byte("bo"), false)
	s.ResponseBody([]byte("dy"), true)
	if got := s.ToClient(); string(got.Body) != "body" || !got.Complete {
		t.Errorf("to client: got %+v, want the complete body", got)
	}
}

// A request that is held does not go on after a local reply.
func TestContinueAfterLocalReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000", "tick: effective 2; continue 0")
	s := open(w.Worker(0), "request-headers", "reply 409 _ x", "response-headers", "return 1")
	w.Worker(0).Tick()
	if s.Ended() || s.ToUpstream().Headers != nil || s.ToClient().Headers != nil {
		t.Errorf("got %v, to upstream %+v, to client %+v; want open, nothing, nothing", s.Ending(), s.ToUpstream(), s.ToClient())
	}
	wantAction(t, s.RequestBody([]byte("late"), true), host.None)
}

// The same within the callback that replies.
func TestContinueBehindLocalReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "request-headers", "reply 409 _ x; continue 0")
	if s.Ending() != host.Completed || s.ToUpstream().Headers != nil {
		t.Errorf("got %v, to upstream %+v; want completed, and nothing at the upstream", s.Ending(), s.ToUpstream())
	}
}

// A body that the filter buffers can be read until it goes on, even after proxy_continue_stream.
func TestBufferedBodyAfterContinue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000", "tick: effective 2; continue 0; body 0 0 9")
	s := w.Worker(0).Open(request("request-body", "return 1"))
	s.RequestHeaders(false)
	s.RequestBody([]byte("held"), false)
	w.Worker(0).Tick()
	w.Worker(0).Tick()
	wantLog(t, w.Logs().OfWorker(0), `body 0 0 9 -> Ok "held"`, `body 0 0 9 -> Ok ""`)
}

func TestLocalReplyToHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := w.Worker(0).Open(host.Request("HEAD", "/", "on-request-headers", "reply 409 _ body"))
	s.RequestHeaders(true)
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 response-headers", "2 log", "2 done", "2 delete")
	if v, _ := s.ToClient().Headers.Get("content-length"); v != "4" || len(s.ToClient().Body) > 0 {
		t.Errorf("to client: got %+v, want content-length 4 and no body", s.ToClient())
	}
}
