package host_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// callbacks returns the guest's callbacks, "context phase", in order.
func callbacks(logs host.Logs) []string {
	var out []string
	for _, entry := range logs {
		if first, rest, ok := strings.Cut(entry.Message, " "); ok && !strings.Contains(rest, " ") && first[0] >= '0' && first[0] <= '9' {
			out = append(out, entry.Message)
		}
	}
	return out
}

func wantCallbacks(tb testing.TB, logs host.Logs, want ...string) {
	tb.Helper()
	got := callbacks(logs)
	got = slices.DeleteFunc(got, func(c string) bool { return c == "1 vm-start" || c == "1 configure" })
	if !slices.Equal(got, want) {
		tb.Errorf("callbacks: got %q, want %q", got, want)
	}
}

func wantAction(tb testing.TB, got, want host.Action) {
	tb.Helper()
	if got != want {
		tb.Errorf("action: got %v, want %v", got, want)
	}
}

func TestStreamPassesThrough(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := w.Worker(0).Open(host.Request("POST", "/", "X-Mixed", "Case"))
	wantAction(t, s.RequestHeaders(false), host.Continue)
	wantAction(t, s.RequestBody([]byte("ping"), false), host.Continue)
	wantAction(t, s.RequestTrailers(host.Headers{{Name: "Sum", Value: "1"}}), host.Continue)
	wantAction(t, s.ResponseHeaders(host.Response(200), false), host.Continue)
	wantAction(t, s.ResponseBody([]byte("po"), false), host.Continue)
	wantAction(t, s.ResponseBody([]byte("ng"), false), host.Continue)
	wantAction(t, s.ResponseTrailers(host.Headers{{Name: "sum", Value: "2"}}), host.Continue)

	up, down := s.ToUpstream(), s.ToClient()
	if v, _ := up.Headers.Get("x-mixed"); v != "Case" || string(up.Body) != "ping" || up.Trailers[0].Name != "sum" || !up.Complete {
		t.Errorf("to upstream: got %+v", up)
	}
	if string(down.Body) != "pong" || down.Trailers[0].Value != "2" || !down.Complete {
		t.Errorf("to client: got %+v", down)
	}
	if s.Ending() != host.Completed || s.Details() != "via_upstream" {
		t.Errorf("ending: got %v, %q", s.Ending(), s.Details())
	}
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 request-body", "2 request-trailers",
		"2 response-headers", "2 response-body", "2 response-body", "2 response-trailers", "2 log", "2 done", "2 delete")
	wantAction(t, s.ResponseBody([]byte("late"), true), host.None)
	if w.Worker(0).Contexts() != 1 {
		t.Errorf("%d contexts are left, want the plugin's alone", w.Worker(0).Contexts())
	}
}

// Envoy logs before it destroys filters; the specification says on_done first.
func TestStreamEndsWithLogDoneDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0))
	s.End()
	s.End()
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 log", "2 done", "2 delete")
	if s.Ending() != host.Disconnected {
		t.Errorf("ending: got %v", s.Ending())
	}
}

// A request that fails before the filter sees it, in another filter say, is
// still logged: Envoy creates the context for that.
func TestStreamThatTheFilterNeverSawIsLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := w.Worker(0).Open(request())
	wantAction(t, s.ResponseHeaders(host.Response(400), true), host.Continue)
	wantCallbacks(t, w.Logs().OfWorker(0), "2 log", "2 done", "2 delete")
	if len(w.Logs().Containing("unknown context")) > 0 {
		t.Errorf("the context was not created first:\n%s", w.Logs())
	}
}

func TestStreamChangesMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "request-headers", "add 0 x-up 1; remove 0 :scheme",
		"response-headers", "replace 2 :status 201", "response-body", "setbody 1 100 0 !; add 3 x-trailer 1")
	s.ResponseHeaders(host.Response(200), false)
	s.ResponseBody([]byte("a"), false)
	s.ResponseBody([]byte("b"), true)
	if _, ok := s.ToUpstream().Headers.Get(":scheme"); ok || s.ToUpstream().Headers.Values("x-up")[0] != "1" {
		t.Errorf("to upstream: got %v", s.ToUpstream().Headers)
	}
	down := s.ToClient()
	if v, _ := down.Headers.Get(":status"); v != "201" || string(down.Body) != "a!b!" {
		t.Errorf("to client: got %+v", down)
	}
	if !slices.Equal(down.Trailers, host.Headers{{Name: "x-trailer", Value: "1"}}) {
		t.Errorf("trailers made in the last body callback: got %v", down.Trailers)
	}
}

// "Pause" in a headers callback stops everything: what arrives meanwhile is kept
// from the filter too, and shown to it in one piece when the stream goes on.
func TestStreamPausedAtHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "tick: effective 2; header 0 :method; continue 0; header 0 :method", "configure: tick 1000")
	s := w.Worker(0).Open(request("request-headers", "return 1", "request-body", "body 0 0 100"))
	wantAction(t, s.RequestHeaders(false), host.StopAllIterationAndWatermark)
	wantAction(t, s.RequestBody([]byte("one "), false), host.StopAllIterationAndWatermark)
	wantAction(t, s.RequestBody([]byte("two"), false), host.StopAllIterationAndWatermark)
	wantAction(t, s.RequestTrailers(nil), host.StopAllIterationAndWatermark)
	if up := s.ToUpstream(); up.Headers != nil || len(up.Body) > 0 {
		t.Errorf("to upstream while paused: got %+v", up)
	}
	w.Worker(0).Tick()
	if up := s.ToUpstream(); up.Headers == nil || string(up.Body) != "one two" || !up.Complete {
		t.Errorf("to upstream afterwards: got %+v", up)
	}
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "1 tick", "2 request-body", "2 request-trailers")
	// The map stays open while the stream is paused, and closes with continue.
	wantLog(t, w.Logs().OfWorker(0), `header 0 :method -> Ok "GET"`, `continue 0 -> Ok`, `header 0 :method -> BadArgument`,
		`body 0 0 100 -> Ok "one two"`)
}

// "Pause" in a body callback buffers: the filter is shown the whole body again.
func TestStreamBuffersBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "response-body", "body 1 0 100; return 1")
	s.ResponseHeaders(host.Response(200), false)
	wantAction(t, s.ResponseBody([]byte("one "), false), host.StopIterationAndBuffer)
	wantAction(t, s.ResponseBody([]byte("two "), false), host.StopIterationAndBuffer)
	if got := s.ToClient().Body; len(got) > 0 {
		t.Errorf("to client while buffering: got %q", got)
	}
	wantLog(t, w.Logs().OfWorker(0), `body 1 0 100 -> Ok "one "`, `body 1 0 100 -> Ok "one two "`)
	s.ResponseTrailers(host.Headers{{Name: "t", Value: "1"}})
	if got := s.ToClient(); string(got.Body) != "one two " || !got.Complete || len(got.Trailers) != 1 {
		t.Errorf("trailers that go on take the body along: got %+v", got)
	}
}

func TestStreamBodyActions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	for script, want := range map[string]struct {
		action host.Action
		body   string // once the stream went on
	}{
		"return 0": {host.Continue, "ab"},
		"return 1": {host.StopIterationAndBuffer, "ab"},
		"return 2": {host.StopIterationAndWatermark, "ab"},
		"return 3": {host.StopIterationNoBuffer, ""},
		"return 9": {host.StopIterationNoBuffer, ""},
	} {
		s := open(w.Worker(0), "response-body", script)
		s.ResponseHeaders(host.Response(200), false)
		wantAction(t, s.ResponseBody([]byte("a"), false), want.action)
		wantAction(t, s.ResponseBody([]byte("b"), false), want.action)
		s.ResponseTrailers(nil)
		if got := string(s.ToClient().Body); got != want.body {
			t.Errorf("%s: body %q went out, want %q", script, got, want.body)
		}
	}
}

// A body that is held can be read and changed from other callbacks.
func TestStreamResumesBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000", "tick: effective 2; body 1 0 9; setbody 1 0 0 pre; continue 1")
	s := open(w.Worker(0), "response-body", "return 1")
	s.ResponseHeaders(host.Response(200), false)
	s.ResponseBody([]byte("whole"), true)
	w.Worker(0).Tick()
	wantLog(t, w.Logs().OfWorker(0), `body 1 0 9 -> Ok "whole"`, "setbody 1 0 0 pre -> Ok")
	if got := s.ToClient(); string(got.Body) != "prewhole" || !got.Complete || s.Ending() != host.Completed {
		t.Errorf("to client: got %+v, %v", got, s.Ending())
	}
}

// proxy_close_stream takes effect when the callback has returned, and then the
// stream ends by itself.
func TestStreamResetIsDeferred(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "response-headers", "close 1; header 2 :status", "log", "say bye")
	wantAction(t, s.ResponseHeaders(host.Response(200), false), host.Continue)
	wantLog(t, w.Logs().OfWorker(0), `close 1 -> Ok`, `header 2 :status -> Ok "200"`, "2 log", "say bye -> bye")
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 response-headers", "2 log", "2 done", "2 delete")
	if !s.WasReset() || s.ToClient().Headers != nil {
		t.Errorf("reset: got %v, and %v went out", s.Ending(), s.ToClient().Headers)
	}
	// The upstream had begun, so the details tell nothing of the reset.
	if s.Details() != "via_upstream" {
		t.Errorf("details: got %q", s.Details())
	}
	early := open(w.Worker(0), "request-headers", "close 0")
	if !early.WasReset() || early.Details() != "wasm_close_stream" || early.ToUpstream().Headers != nil {
		t.Errorf("reset at the request: got %v, %q, %v", early.Ending(), early.Details(), early.ToUpstream().Headers)
	}
}

// A chunk with the goodbye appended goes out whole if the reset comes in a later
// callback; the chunk of the callback that resets is lost.
func TestStreamResetInBodyLosesTheChunk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "response-body", "close 1")
	s.ResponseHeaders(host.Response(200), false)
	s.ResponseBody([]byte("lost"), false)
	if got := s.ToClient(); len(got.Body) > 0 || !s.WasReset() {
		t.Errorf("to client: got %+v, %v", got, s.Ending())
	}
}

// From a plugin's callback, a stream is reached by its id for the rest of that
// callback, and no longer.
func TestEffectiveContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000",
		"tick: setproperty early x; effective 3; setproperty reason because; close 1; effective 2; effective 4")
	first, second := open(w.Worker(0)), open(w.Worker(0))
	w.Worker(0).Tick()
	wantLog(t, w.Logs().OfWorker(0), "setproperty early x -> NotFound", "effective 3 -> Ok", "setproperty reason because -> Ok",
		"close 1 -> Ok", "effective 2 -> Ok", "effective 4 -> BadArgument", "3 log")
	if first.Ended() || !second.WasReset() || second.FilterState()["wasm.reason"] != "because" {
		t.Errorf("first %v, second %v, %v", first.Ending(), second.Ending(), second.FilterState())
	}
	w.Worker(0).Tick() // the effective context of the last tick is forgotten, and stream 3 is gone
	wantLog(t, w.Logs().OfWorker(0), "effective 2 -> Ok", "1 tick", "setproperty early x -> NotFound", "effective 3 -> BadArgument")
}

func TestLocalReplyToRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "request-headers", "reply 409 why+not busy Retry-After=5; return 0", "response-headers", "add 2 x-seen 1",
		"response-body", "body 1 0 9")
	got, want := s.ToClient().Headers, host.Headers{{Name: ":status", Value: "409"}, {Name: "retry-after", Value: "5"},
		{Name: "content-length", Value: "4"}, {Name: "content-type", Value: "text/plain"}, {Name: "x-seen", Value: "1"}}
	if !slices.Equal(got, want) {
		t.Errorf("headers: got %v, want %v", got, want)
	}
	if string(s.ToClient().Body) != "busy" || s.ToUpstream().Headers != nil || s.Ending() != host.Completed {
		t.Errorf("got %+v, upstream %+v, %v", s.ToClient(), s.ToUpstream(), s.Ending())
	}
	if r := s.LocalReply(); r == nil || r.Status != 409 || r.Details != "why_not" || r.GRPCStatus != -1 {
		t.Errorf("reply: got %+v", r)
	}
	// The reply goes through the filter like any response.
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 response-headers", "2 response-body", "2 log", "2 done", "2 delete")
	wantAction(t, s.ResponseHeaders(host.Response(200), true), host.None)
}

// In on_response_headers the reply replaces the upstream's headers and the filter
// is not asked about it.
func TestLocalReplyToResponse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "response-headers", "reply 200 _ data content-type=text/event-stream")
	wantAction(t, s.ResponseHeaders(host.Response(200, "x-upstream", "1"), false), host.StopAllIterationAndWatermark)
	if _, ok := s.ToClient().Headers.Get("x-upstream"); ok || string(s.ToClient().Body) != "data" || !s.ToClient().Complete {
		t.Errorf("to client: got %+v", s.ToClient())
	}
	if v := s.ToClient().Headers.Values("content-type"); !slices.Equal(v, []string{"text/event-stream"}) {
		t.Errorf("content-type: got %q", v)
	}
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 response-headers", "2 log", "2 done", "2 delete")
}

// Once response headers are out, a local reply is a reset.
func TestLocalReplyThatComesTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000", "tick: reply 503 _ _; effective 2; reply 503 _ _")
	s := open(w.Worker(0))
	s.ResponseHeaders(host.Response(200), false)
	w.Worker(0).Tick()
	wantLog(t, w.Logs().OfWorker(0), "reply 503 _ _ -> Ok", "effective 2 -> Ok", "reply 503 _ _ -> Ok", "2 log")
	if !s.WasReset() || s.LocalReply() != nil {
		t.Errorf("got %v, %+v", s.Ending(), s.LocalReply())
	}
}
