package host_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// callbacks returns the lines in which the guest logs its callbacks, "<context id> <callback>".
func callbacks(logs host.Logs) []string {
	var out []string
	for _, entry := range logs {
		if first, rest, ok := strings.Cut(entry.Message, " "); ok && !strings.Contains(rest, " ") && first[0] >= '0' && first[0] <= '9' {
			out = append(out, entry.Message)
		}
	}
	return out
}

// wantCallbacks checks the guest's callbacks, without those of the plugin's start.
func wantCallbacks(tb testing.TB, logs host.Logs, want ...string) {
	tb.Helper()
	got := callbacks(logs)
	got = slices.DeleteFunc(got, func(c string) bool { return c == "1 vm-start" || c == "1 configure" })
	if !slices.Equal(got, want) {
		tb.Errorf("got the callbacks %q, want %q", got, want)
	}
}

func wantAction(tb testing.TB, got, want host.Action) {
	tb.Helper()
	if got != want {
		tb.Errorf("got the action %v, want %v", got, want)
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
		t.Errorf("to upstream: got %+v, want the complete request in lower case", up)
	}
	if string(down.Body) != "pong" || down.Trailers[0].Value != "2" || !down.Complete {
		t.Errorf("to client: got %+v, want the complete response", down)
	}
	if s.Ending() != host.Completed || s.Details() != "via_upstream" {
		t.Errorf("got the ending %v with details %q, want completed, via_upstream", s.Ending(), s.Details())
	}
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 request-body", "2 request-trailers",
		"2 response-headers", "2 response-body", "2 response-body", "2 response-trailers", "2 log", "2 done", "2 delete")
	wantAction(t, s.ResponseBody([]byte("late"), true), host.None)
	if w.Worker(0).Contexts() != 1 {
		t.Errorf("got %d contexts, want only the plugin's", w.Worker(0).Contexts())
	}
}

// Envoy calls on_log before it destroys the filters. The specification says on_done, on_log,
// on_delete.
func TestStreamEndsWithLogDoneDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0))
	s.End()
	s.End()
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 log", "2 done", "2 delete")
	if s.Ending() != host.Disconnected {
		t.Errorf("got the ending %v, want disconnected", s.Ending())
	}
}

// A request can fail before this filter sees it, for example in another filter. Envoy still calls
// on_log, and creates the context for this.
func TestStreamThatTheFilterNeverSawIsLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := w.Worker(0).Open(request())
	s.RefuseBefore(host.Response(400))
	wantCallbacks(t, w.Logs().OfWorker(0), "2 log", "2 done", "2 delete")
	if len(w.Logs().Containing("unknown context")) > 0 {
		t.Errorf("want on_context_create before on_log, got\n%s", w.Logs())
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
		t.Errorf("to upstream: got %v, want x-up and no :scheme", s.ToUpstream().Headers)
	}
	down := s.ToClient()
	if v, _ := down.Headers.Get(":status"); v != "201" || string(down.Body) != "a!b!" {
		t.Errorf("to client: got %+v, want status 201 and body a!b!", down)
	}
	if !slices.Equal(down.Trailers, host.Headers{{Name: "x-trailer", Value: "1"}}) {
		t.Errorf("trailers added in the last body callback: got %v, want x-trailer: 1", down.Trailers)
	}
}

// A headers callback that returns Stop stops everything. Body and trailers that arrive then are
// kept from the filter too, and shown to it together when the stream continues.
func TestStreamStoppedAtHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "tick: effective 2; header 0 :method; continue 0; header 0 :method", "configure: tick 1000")
	s := w.Worker(0).Open(request("request-headers", "return 1", "request-body", "body 0 0 100"))
	wantAction(t, s.RequestHeaders(false), host.StopAllIterationAndWatermark)
	wantAction(t, s.RequestBody([]byte("one "), false), host.StopAllIterationAndWatermark)
	wantAction(t, s.RequestBody([]byte("two"), false), host.StopAllIterationAndWatermark)
	wantAction(t, s.RequestTrailers(nil), host.StopAllIterationAndWatermark)
	if up := s.ToUpstream(); up.Headers != nil || len(up.Body) > 0 {
		t.Errorf("to upstream while stopped: got %+v, want nothing", up)
	}
	w.Worker(0).Tick()
	if up := s.ToUpstream(); up.Headers == nil || string(up.Body) != "one two" || !up.Complete {
		t.Errorf("to upstream after continue: got %+v, want the complete request", up)
	}
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "1 tick", "2 request-body", "2 request-trailers")
	// The guest can read the headers while the stream is stopped, but not after continue.
	wantLog(t, w.Logs().OfWorker(0), `header 0 :method -> Ok "GET"`, `continue 0 -> Ok`, `header 0 :method -> BadArgument`,
		`body 0 0 100 -> Ok "one two"`)
}

// A body callback that returns StopAndBuffer makes the host buffer: each later callback sees the
// whole body so far.
// With the option, a pause in the headers callback lets the filter see the body.
func TestAllowStopIteration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{AllowStopIteration: true})
	s := w.Worker(0).Open(request("request-headers", "return 1", "request-body", "header 0 :path; body 0 0 9"))
	wantAction(t, s.RequestHeaders(false), host.StopIteration)
	if s.ToUpstream().Headers != nil {
		t.Error("the headers have gone on")
	}
	wantAction(t, s.RequestBody([]byte("one"), true), host.Continue)
	wantLog(t, w.Logs(), `header 0 :path -> Ok "/events?tab=1"`, `body 0 0 9 -> Ok "one"`)
	if got := s.ToUpstream(); got.Headers == nil || string(got.Body) != "one" || !got.Complete {
		t.Errorf("to upstream: got %+v, want the whole request", got)
	}
}

func TestStreamBuffersBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "response-body", "body 1 0 100; return 1")
	s.ResponseHeaders(host.Response(200), false)
	wantAction(t, s.ResponseBody([]byte("one "), false), host.StopIterationAndBuffer)
	wantAction(t, s.ResponseBody([]byte("two "), false), host.StopIterationAndBuffer)
	if got := s.ToClient().Body; len(got) > 0 {
		t.Errorf("to client while buffering: got %q, want nothing", got)
	}
	wantLog(t, w.Logs().OfWorker(0), `body 1 0 100 -> Ok "one "`, `body 1 0 100 -> Ok "one two "`)
	s.ResponseTrailers(host.Headers{{Name: "t", Value: "1"}})
	if got := s.ToClient(); string(got.Body) != "one two " || !got.Complete || len(got.Trailers) != 1 {
		t.Errorf("to client after the trailers: got %+v, want the body and the trailers", got)
	}
}

func TestStreamBodyActions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	for script, want := range map[string]struct {
		action host.Action
		body   string // at the client, after the trailers
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
			t.Errorf("%s: got the body %q at the client, want %q", script, got, want.body)
		}
	}
}

// Another callback can read and change a body that is held.
func TestStreamResumesBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000", "tick: effective 2; body 1 0 9; setbody 1 0 0 pre; continue 1")
	s := open(w.Worker(0), "response-body", "return 1")
	s.ResponseHeaders(host.Response(200), false)
	s.ResponseBody([]byte("whole"), true)
	w.Worker(0).Tick()
	wantLog(t, w.Logs().OfWorker(0), `body 1 0 9 -> Ok "whole"`, "setbody 1 0 0 pre -> Ok")
	if got := s.ToClient(); string(got.Body) != "prewhole" || !got.Complete || s.Ending() != host.Completed {
		t.Errorf("to client: got %+v, %v; want the body prewhole, completed", got, s.Ending())
	}
}

// proxy_close_stream takes effect after the callback has returned. The end of the stream follows at
// once.
func TestStreamResetIsDeferred(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "response-headers", "close 1; header 2 :status", "log", "say bye")
	wantAction(t, s.ResponseHeaders(host.Response(200), false), host.Continue)
	wantLog(t, w.Logs().OfWorker(0), `close 1 -> Ok`, `header 2 :status -> Ok "200"`, "2 log", "say bye -> bye")
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 response-headers", "2 log", "2 done", "2 delete")
	if !s.WasReset() || s.ToClient().Headers != nil {
		t.Errorf("got the ending %v, and %v at the client; want reset, and no headers", s.Ending(), s.ToClient().Headers)
	}
	// The response had begun, so the details do not change.
	if s.Details() != "via_upstream" {
		t.Errorf("got the details %q, want via_upstream", s.Details())
	}
	early := open(w.Worker(0), "request-headers", "close 0")
	if !early.WasReset() || early.Details() != "wasm_close_stream" || early.ToUpstream().Headers != nil {
		t.Errorf("reset at the request: got %v, details %q, upstream headers %v; want reset, wasm_close_stream, none", early.Ending(), early.Details(), early.ToUpstream().Headers)
	}
}

// The chunk that the resetting callback was called for is lost. A filter that appends a last
// message must therefore reset in a later callback.
func TestStreamResetInBodyLosesTheChunk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "response-body", "close 1")
	s.ResponseHeaders(host.Response(200), false)
	s.ResponseBody([]byte("lost"), false)
	if got := s.ToClient(); len(got.Body) > 0 || !s.WasReset() {
		t.Errorf("to client: got %+v, %v; want no body, reset", got, s.Ending())
	}
}

// A callback of the plugin can act on a stream by its id, until that callback returns.
func TestEffectiveContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000",
		"tick: setproperty early x; effective 3; setproperty reason because; close 1; effective 2; effective 4")
	first, second := open(w.Worker(0)), open(w.Worker(0))
	w.Worker(0).Tick()
	wantLog(t, w.Logs().OfWorker(0), "setproperty early x -> NotFound", "effective 3 -> Ok", "setproperty reason because -> Ok",
		"close 1 -> Ok", "effective 2 -> Ok", "effective 4 -> BadArgument", "3 log")
	if first.Ended() || !second.WasReset() || second.FilterState()["wasm.reason"] != "because" {
		t.Errorf("got the first stream %v, the second %v with filter state %v; want open, reset, wasm.reason", first.Ending(), second.Ending(), second.FilterState())
	}
	w.Worker(0).Tick() // it starts without an effective context, and stream 3 is gone
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
		t.Errorf("got the reply headers %v, want %v", got, want)
	}
	if string(s.ToClient().Body) != "busy" || s.ToUpstream().Headers != nil || s.Ending() != host.Completed {
		t.Errorf("got to client %+v, to upstream %+v, %v; want the reply, nothing, completed", s.ToClient(), s.ToUpstream(), s.Ending())
	}
	if r := s.LocalReply(); r == nil || r.Status != 409 || r.Details != "why_not" || r.GRPCStatus != -1 {
		t.Errorf("got the reply %+v, want 409, why_not, no gRPC status", r)
	}
	// The reply goes through the filter like a response.
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 response-headers", "2 response-body", "2 log", "2 done", "2 delete")
	wantAction(t, s.ResponseHeaders(host.Response(200), true), host.None)
}

// In on_response_headers the reply replaces the upstream's headers, and the filter does not see it.
func TestLocalReplyToResponse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "response-headers", "reply 200 _ data content-type=text/event-stream")
	wantAction(t, s.ResponseHeaders(host.Response(200, "x-upstream", "1"), false), host.StopAllIterationAndWatermark)
	if _, ok := s.ToClient().Headers.Get("x-upstream"); ok || string(s.ToClient().Body) != "data" || !s.ToClient().Complete {
		t.Errorf("to client: got %+v, want the complete reply", s.ToClient())
	}
	if v := s.ToClient().Headers.Values("content-type"); !slices.Equal(v, []string{"text/event-stream"}) {
		t.Errorf("got content-type %q, want only text/event-stream", v)
	}
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "2 response-headers", "2 log", "2 done", "2 delete")
}

// After the response headers have gone to the client, a local reply resets the stream.
func TestLocalReplyThatComesTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000", "tick: reply 503 _ _; effective 2; reply 503 _ _")
	s := open(w.Worker(0))
	s.ResponseHeaders(host.Response(200), false)
	w.Worker(0).Tick()
	wantLog(t, w.Logs().OfWorker(0), "reply 503 _ _ -> Ok", "effective 2 -> Ok", "reply 503 _ _ -> Ok", "2 log")
	if !s.WasReset() || s.LocalReply() != nil {
		t.Errorf("got %v, local reply %+v; want reset, no reply", s.Ending(), s.LocalReply())
	}
}

// METADATA frames go on whatever the filter returns, but wait while everything is stopped.
func TestMetadata(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "tick: effective 2; continue 0", "configure: tick 1000")
	s := w.Worker(0).Open(request("request-headers", "return 1", "request-metadata", "return 1", "response-metadata", "mapsize 2; return 3"))
	s.RequestHeaders(false)
	wantAction(t, s.RequestMetadata(map[string]string{"a": "1", "b": "2"}), host.StopAllIterationAndWatermark)
	s.RequestBody([]byte("x"), true)
	if up := s.ToUpstream(); up.Metadata != nil {
		t.Errorf("got the metadata %v at the upstream, want none while everything is stopped", up.Metadata)
	}
	w.Worker(0).Tick()
	if up := s.ToUpstream(); len(up.Metadata) != 1 || up.Metadata[0]["b"] != "2" {
		t.Errorf("got the metadata %v at the upstream, want one frame", up.Metadata)
	}
	s.ResponseHeaders(host.Response(200), false)
	wantAction(t, s.ResponseMetadata(map[string]string{"c": "3"}), host.Continue)
	s.ResponseBody(nil, true)
	if down := s.ToClient(); len(down.Metadata) != 1 || down.Metadata[0]["c"] != "3" {
		t.Errorf("got the metadata %v at the client, want one frame", down.Metadata)
	}
	wantCallbacks(t, w.Logs().OfWorker(0), "2 request-headers", "1 tick", "2 request-metadata", "2 request-body",
		"2 response-headers", "2 response-metadata", "2 response-body", "2 log", "2 done", "2 delete")
	wantAction(t, s.RequestMetadata(nil), host.None)
}

// The route is chosen anew after each change of the request headers, and of nothing else.
func TestRouteClears(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "request-headers", "add 0 a b; replace 0 a c; remove 0 a; setpairs 0 :path=/; add 2 a b; mapsize 0",
		"response-headers", "add 2 a b; add 0 a b")
	s.ResponseHeaders(host.Response(200), true)
	if got := s.RouteClears(); got != 4 {
		t.Errorf("got %d, want 4", got)
	}
}

// What cannot happen in Envoy is a mistake of the test, and says so.
func TestPartsInAWrongOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	tests := []struct {
		want string // in the panic
		do   func(s *host.Stream)
	}{
		{"ResponseHeaders before RequestHeaders", func(s *host.Stream) { s.ResponseHeaders(host.Response(200), true) }},
		{"RequestBody before RequestHeaders", func(s *host.Stream) { s.RequestBody(nil, true) }},
		{"ResponseTrailers before ResponseHeaders", func(s *host.Stream) { s.RequestHeaders(true); s.ResponseTrailers(nil) }},
		{"RequestHeaders twice", func(s *host.Stream) { s.RequestHeaders(false); s.RequestHeaders(false) }},
		{"ResponseHeaders twice", func(s *host.Stream) {
			s.RequestHeaders(true)
			s.ResponseHeaders(host.Response(200), false)
			s.ResponseHeaders(host.Response(200), false)
		}},
		{"RequestBody after the end of the request", func(s *host.Stream) { s.RequestHeaders(true); s.RequestBody(nil, true) }},
		{"RequestTrailers after the end of the request", func(s *host.Stream) {
			s.RequestHeaders(false)
			s.RequestTrailers(nil)
			s.RequestTrailers(nil)
		}},
		{"ResponseBody after the end of the response", func(s *host.Stream) {
			s.RequestHeaders(true)
			s.ResponseHeaders(host.Response(200), true) // the filter holds it
			s.ResponseBody([]byte("x"), true)
		}},
		{"this filter has seen the request", func(s *host.Stream) { s.RequestHeaders(true); s.RefuseBefore(host.Response(400)) }},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			defer func() {
				if got, _ := recover().(string); !strings.Contains(got, tt.want) {
					t.Errorf("got the panic %q, want %q", got, tt.want)
				}
			}()
			tt.do(w.Worker(0).Open(request("response-headers", "return 1")))
		})
	}
}

// A stream that the filter holds can be looked at, with what the filter has changed so far.
func TestStateOfAPausedStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := w.Worker(0).Open(request("request-headers", "add 0 x-up 1", "request-body", "return 1", "response-headers", "replace 2 :status 201; return 1"))
	if st := s.RequestState(); st.Action != host.None || st.Paused || len(st.Headers) == 0 {
		t.Errorf("before the filter has seen the request: got %+v", st)
	}
	s.RequestHeaders(false)
	s.RequestBody([]byte("ab"), false)
	s.RequestBody([]byte("c"), false)
	st := s.RequestState()
	if _, ok := st.Headers.Get("x-up"); !ok || string(st.Body) != "abc" || st.Action != host.StopIterationAndBuffer || !st.Paused || st.Ended {
		t.Errorf("a held body: got %+v", st)
	}
	if st := s.ResponseState(); st.Headers != nil || st.Paused {
		t.Errorf("a response that has not arrived: got %+v", st)
	}
	s.ResponseHeaders(host.Response(200), true)
	st = s.ResponseState()
	if status, _ := st.Headers.Get(":status"); status != "201" || st.Action != host.StopAllIterationAndWatermark || !st.Paused || !st.Ended {
		t.Errorf("held headers: got %+v", st)
	}
}
