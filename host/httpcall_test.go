package host_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// auth is a cluster that the test answers itself.
var auth = map[string]http.Handler{"auth": nil}

// callAuth is a stream's script that asks the cluster auth and waits.
const callAuth = "httpcall auth 0 _ :path=/check :method=GET :authority=auth; return 1"

// onlyCall returns the only callout that waits for an answer.
func onlyCall(tb testing.TB, w *host.World) *host.HTTPCall {
	tb.Helper()
	calls := w.HTTPCalls()
	if len(calls) != 1 {
		tb.Fatalf("got %d callouts, want 1; log:\n%s", len(calls), w.Logs())
	}
	return calls[0]
}

// A filter asks another service about each request, and lets it go on with what that says.
func TestHTTPCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: auth},
		"http-call-response: header 6 x-user; header 7 sum; body 4 0 100; pairs 5; status; effective 2; header 6 x-user; add 0 x-user ann; continue 0")
	s := open(w.Worker(0), "request-headers",
		"httpcall auth 250 who? :path=/check :method=POST :authority=auth X-Mixed=Case | T=1; return 1")
	c := onlyCall(t, w)
	if c.Worker != 0 || c.ContextID != 1 || c.Token != 4 || c.Cluster != "auth" || c.Timeout != 250*time.Millisecond || !c.Sent.Equal(w.Now()) {
		t.Errorf("got the callout %+v", c)
	}
	if got := text(c.Headers) + " | " + string(c.Body) + " | " + text(c.Trailers); got !=
		":path=/check :method=POST :authority=auth x-mixed=Case content-length=4 | who? | t=1" {
		t.Errorf("got the request %s", got)
	}
	w.Advance(200 * time.Millisecond)
	if c.Done() {
		t.Error("the callout is done before anybody has answered")
	}
	c.Respond(host.Response(200, "X-User", "ann"), []byte("yes"), host.Headers{{Name: "Sum", Value: "1"}})
	wantLog(t, w.Logs().OfWorker(0), "1 http-call-response", "token 4: 3 3 1", `header 6 x-user -> Ok "ann"`, `header 7 sum -> Ok "1"`,
		`body 4 0 100 -> Ok "yes"`, `pairs 5 -> Ok ""`, `status -> Ok 0 ""`, "effective 2 -> Ok", `header 6 x-user -> Ok "ann"`, "continue 0 -> Ok")
	if user, _ := s.ToUpstream().Headers.Get("x-user"); user != "ann" {
		t.Errorf("got the user %q at the upstream, want ann", user)
	}
	if !c.Done() || c.Cancelled() || len(w.HTTPCalls()) != 0 {
		t.Errorf("got done %v, cancelled %v and %d callouts, want true, false and 0", c.Done(), c.Cancelled(), len(w.HTTPCalls()))
	}
}

// What proxy_http_call returns. A call that is not sent has no token.
func TestHTTPCallStatuses(t *testing.T) {
	t.Parallel()
	lines := transcript{
		"httpcall nope 0 _ :path=/ :method=GET :authority=x -> BadArgument token 0",
		"httpcall auth 4294967295 _ :path=/ :method=GET :authority=x -> BadArgument token 0", // -1 ms
		"httpcall auth 0 _ :method=GET :authority=x -> BadArgument token 0",
		"httpcall auth 0 _ :path=/ :authority=x -> BadArgument token 0",
		"httpcall auth 0 _ :path=/ :method=GET -> BadArgument token 0",
		"httpcall empty 0 _ :path=/ :method=GET :authority=x -> InternalFailure token 0",
		"httpcall auth 0 _ :path=/ :method=GET :authority=x -> Ok 8", // 4 was the call to empty
		"raw httpcall 0xfffffff0 1 0 0 0 0 0 0 0 0 -> InvalidMemoryAccess",
		"raw httpcall 0 0 0xfffffff0 1 0 0 0 0 0 0 -> InvalidMemoryAccess",
		"raw httpcall 0 0 0 0 0xfffffff0 1 0 0 0 0 -> InvalidMemoryAccess",
		"raw httpcall 0 0 0 0 0 0 0xfffffff0 1 0 0 -> InvalidMemoryAccess",
		"raw httpcall 0 0 0 0 0 0 0 0 0 0xfffffff0 -> InvalidMemoryAccess",
		"raw status 0xfffffff0 0 0 -> InvalidMemoryAccess",
		"raw status 0 0xfffffff0 0 -> InvalidMemoryAccess",
		"raw status 0 0 0xfffffff0 -> InvalidMemoryAccess",
		"header 6 :status -> BadArgument", // no answer is shown now
		"header 7 x -> BadArgument",
		`pairs 6 -> Ok ""`,
		"mapsize 6 -> BadArgument",
		"body 4 0 1 -> NotFound",
	}
	w := newWorld(t, host.Config{Clusters: map[string]http.Handler{"auth": nil, "empty": host.NoEndpoints}})
	open(w.Worker(0), "request-headers", lines.script())
	wantLog(t, w.Logs().OfWorker(0), lines...)
	if c := onlyCall(t, w); c.Token != 8 {
		t.Errorf("got the token %d, want 8", c.Token)
	}
}

// The maps and the body of an answer can be read and not be changed.
func TestHTTPCallAnswerIsReadOnly(t *testing.T) {
	t.Parallel()
	lines := transcript{
		"mapsize 6 -> BadArgument", "add 6 a b -> BadArgument", "replace 6 a b -> BadArgument", "remove 6 a -> BadArgument",
		"setpairs 6 a=b -> BadArgument", "setbody 4 0 0 x -> BadArgument", "bodystatus 4 -> Ok 3", "header 6 a -> NotFound", "header 7 a -> BadArgument",
	}
	w := newWorld(t, host.Config{Clusters: auth}, "http-call-response: "+lines.script())
	open(w.Worker(0), "request-headers", callAuth)
	onlyCall(t, w).Respond(host.Response(200), []byte("yes"), nil)
	wantLog(t, w.Logs().OfWorker(0), lines...)
}

// What the guest gets for an upstream that does not answer well. Only an answer that breaks off
// after its headers is no answer for it. Measured on Envoy 1.40 with this guest.
func TestHTTPCallFails(t *testing.T) {
	t.Parallel()
	const reset = "upstream connect error or disconnect/reset before headers. reset reason: "
	local := func(status, body string) []string {
		return []string{fmt.Sprintf("token 4: 3 %d 0", len(body)), "header 6 :status -> Ok " + quote(status),
			"header 6 content-length -> Ok " + quote(fmt.Sprint(len(body))), `header 6 content-type -> Ok "text/plain"`, "body 4 0 200 -> Ok " + quote(body), `status -> Ok 0 ""`}
	}
	broken := []string{"token 4: 0 0 0", "header 6 :status -> BadArgument", "body 4 0 200 -> NotFound", `status -> Ok 11 "reset"`}
	tests := []struct {
		name   string
		answer func(c *host.HTTPCall)
		want   []string
	}{
		{"nobody listens", func(c *host.HTTPCall) { c.Reset(host.ConnectionFailure) }, local("503", reset+"remote connection failure")},
		{"the connection closes", func(c *host.HTTPCall) { c.Reset(host.ConnectionTermination) }, local("503", reset+"connection termination")},
		{"the stream is reset", func(c *host.HTTPCall) { c.Reset(host.RemoteReset) }, local("503", reset+"remote reset")},
		{"reset after the headers", func(c *host.HTTPCall) { c.RespondHeaders(host.Response(200), false); c.Reset(host.RemoteReset) }, broken},
		{"reset in the body", func(c *host.HTTPCall) {
			c.RespondHeaders(host.Response(200), false)
			c.RespondBody([]byte("half"), false)
			c.Reset(host.ConnectionTermination)
		}, broken},
		{"no answer in time", func(*host.HTTPCall) {}, local("504", "upstream request timeout")},
		{"half an answer in time", func(c *host.HTTPCall) { c.RespondHeaders(host.Response(200), false) }, broken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{Clusters: auth},
				"http-call-response: header 6 :status; header 6 content-length; header 6 content-type; body 4 0 200; status", "tick: status")
			open(w.Worker(0), "request-headers", "tick 2000; "+strings.Replace(callAuth, "auth 0", "auth 1000", 1))
			c := onlyCall(t, w)
			tt.answer(c)
			w.Advance(999 * time.Millisecond)
			timesOut := !c.Done()
			w.Advance(time.Millisecond)
			wantLog(t, w.Logs().OfWorker(0), append([]string{"1 http-call-response"}, tt.want...)...)
			if !c.Done() || c.Cancelled() != timesOut || len(w.HTTPCalls()) != 0 {
				t.Errorf("got done %v, cancelled %v and %d callouts, want true, %v and 0", c.Done(), c.Cancelled(), len(w.HTTPCalls()), timesOut)
			}
			// The status stays, the message does not.
			w.Advance(time.Second)
			status := tt.want[len(tt.want)-1]
			wantLog(t, w.Logs().OfWorker(0), "1 tick", strings.Replace(status, `"reset"`, `""`, 1))
			if n := len(w.Logs().Containing("1 http-call-response")); n != 1 {
				t.Errorf("got %d callbacks, want 1", n)
			}
		})
	}
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

// An answer in pieces reaches the guest when it is complete. The answers may come in any order, on
// several workers, and after the streams have ended.
func TestHTTPCallAnswersInAnyOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2, Clusters: auth}, "http-call-response: body 4 0 9; effective 2; header 0 :path")
	first := open(w.Worker(0), "request-headers", callAuth)
	second := open(w.Worker(1), "request-headers", callAuth)
	open(w.Worker(0), "request-headers", callAuth)
	first.End()
	calls := w.HTTPCalls()
	if len(calls) != 3 || calls[0].Worker != 0 || calls[1].Worker != 1 || calls[2].Token != 8 {
		t.Fatalf("got the callouts %+v", calls)
	}
	calls[2].RespondHeaders(host.Response(200), false)
	calls[1].Respond(host.Response(200), []byte("b"), nil)
	calls[2].RespondBody([]byte("c"), false)
	calls[0].Respond(host.Response(204), nil, nil)
	calls[2].RespondBody([]byte("c"), false)
	if n := len(w.Logs().Containing("1 http-call-response")); n != 2 {
		t.Errorf("got %d callbacks, want 2 before the third answer is complete", n)
	}
	calls[2].RespondTrailers(host.Headers{{Name: "t", Value: "1"}})
	wantLog(t, w.Logs(), `body 4 0 9 -> Ok "b"`, "effective 2 -> Ok", `header 0 :path -> Ok "/events?tab=1"`, // of second, which waits
		`token 4: 2 0 0`, `body 4 0 9 -> Ok ""`, "effective 2 -> BadArgument", // first has ended
		"token 8: 2 2 1", `body 4 0 9 -> Ok "cc"`)
	if second.Ended() {
		t.Error("the stream on worker 1 has ended")
	}
}

// An answer that arrives while the guest is in a call waits until that has returned, and comes
// before what the call deferred later.
func TestHTTPCallAnswerDuringCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: auth}, "http-call-response: header 6 :status; get k")
	open(w.Worker(0), "request-headers", callAuth)
	c := onlyCall(t, w)
	w.Intercept(func(call *host.Call) {
		if call.Name == "proxy_set_shared_data" {
			c.Respond(host.Response(200), nil, nil)
		}
	})
	s := open(w.Worker(0), "request-headers", "header 6 :status; set k v 0; header 6 :status; close 0", "log", "say ended")
	wantLog(t, w.Logs().OfWorker(0), "header 6 :status -> BadArgument", "set k v 0 -> Ok", "header 6 :status -> BadArgument", "close 0 -> Ok",
		"1 http-call-response", `header 6 :status -> Ok "200"`, `get k -> Ok "v" cas 1`, "say ended -> ended")
	if !s.WasReset() {
		t.Error("the stream was not reset")
	}
}

// What the answer's callback defers happens after the answer has gone.
func TestHTTPCallAnswerIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: auth}, "http-call-response: header 6 :status; effective 2; close 0")
	open(w.Worker(0), "request-headers", callAuth, "log", "header 6 :status; pairs 6; body 4 0 9")
	onlyCall(t, w).Respond(host.Response(200), nil, nil)
	wantLog(t, w.Logs().OfWorker(0), `header 6 :status -> Ok "200"`, "2 log", "header 6 :status -> NotFound", `pairs 6 -> Ok ""`, "body 4 0 9 -> NotFound")
}

// A callout from an answer's callback is one more callout, and the answer is gone when that is
// answered.
func TestHTTPCallFromItsAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: auth}, "http-call-response: header 6 :status; httpcall auth 0 _ :path=/ :method=GET :authority=x")
	open(w.Worker(0), "request-headers", callAuth)
	onlyCall(t, w).Respond(host.Response(401), nil, nil)
	c := onlyCall(t, w)
	open(w.Worker(0), "request-headers", "header 6 :status")
	c.Respond(host.Response(200), nil, nil)
	wantLog(t, w.Logs().OfWorker(0), `header 6 :status -> Ok "401"`, "header 6 :status -> BadArgument", "token 8: 2 0 0", `header 6 :status -> Ok "200"`)
}

// Envoy gives up the callouts of a plugin context that ends, and of a VM that is replaced. Answers
// to them go nowhere.
func TestHTTPCallIsCancelled(t *testing.T) {
	t.Parallel()
	const start = "configure: httpcall auth 0 _ :path=/ :method=GET :authority=x; get k"
	w := newWorld(t, host.Config{Clusters: auth}, start)
	if calls := w.HTTPCalls(); len(calls) != 2 || calls[0].Worker != host.MainThread || calls[1].Worker != 0 {
		t.Fatalf("got the callouts %+v, want those of two threads and none of the canary", calls)
	}
	old := w.Listeners()[0]
	if _, err := w.AddListener([]byte(start + " ")); err != nil {
		t.Fatal(err)
	}
	calls := w.HTTPCalls()
	old.Drain()
	if left := w.HTTPCalls(); len(left) != 2 || left[0] != calls[2] || left[1] != calls[3] || !calls[0].Cancelled() || calls[2].Done() {
		t.Errorf("after the drain: got the callouts %+v, want the two of the new listener", left)
	}
	w.Worker(0).Crash()
	calls[3].RespondHeaders(host.Response(200), false) // the dead VM is never called
	if err := w.Worker(0).Reload(); err != nil {
		t.Fatal(err)
	}
	if !calls[3].Cancelled() {
		t.Error("after the reload: the callout of the old VM is not cancelled")
	}
	for _, c := range calls[:2] {
		c.Respond(host.Response(200), []byte("late"), host.Headers{{Name: "t", Value: "1"}})
		c.Reset(host.RemoteReset)
	}
	calls[3].RespondBody([]byte("late"), true)
	if got := w.Logs().Containing("http-call-response"); len(got) > 0 {
		t.Errorf("got callbacks for callouts that were cancelled:\n%s", got)
	}
	left := w.HTTPCalls()
	w.Close()
	if len(left) != 2 || !left[0].Cancelled() || !left[1].Cancelled() {
		t.Errorf("after Close: got the callouts %+v, want two, cancelled", left)
	}
}

// Time-outs and ticks come in the order of time.
func TestHTTPCallTimeoutsAndTicks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: auth}, "tick: say tick")
	open(w.Worker(0), "request-headers", "tick 100; httpcall auth 150 _ :path=/ :method=GET :authority=x; httpcall auth 100 _ :path=/ :method=GET :authority=x")
	if n := w.Advance(200 * time.Millisecond); n != 2 {
		t.Errorf("got %d ticks, want 2", n)
	}
	wantLog(t, w.Logs().OfWorker(0), "say tick -> tick", "token 8: 3 24 0", "token 4: 3 24 0", "say tick -> tick")
}

// A handler is a backend that answers by itself, when the test lets the network run.
func TestHTTPCallHandler(t *testing.T) {
	t.Parallel()
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/half":
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Trailer", "Sum")
		w.Header()["Two"] = []string{"b", "a"}
		fmt.Fprint(w, r.Method, " ", r.Host, " ", r.URL, " ", r.Header.Get("X-A"), " ", r.Trailer.Get("T"), " ", string(body), " ", err)
		w.Header().Set("Sum", "1")
	})
	tests := []struct {
		call string
		want []string
	}{
		{"POST body /check?q=1 x-a=b | t=1", []string{"token 4: 8 38 1", `body 4 0 99 -> Ok "POST backend /check?q=1 b 1 body <nil>"`,
			`header 6 two -> Ok "b"`, `header 6 date -> Ok "Thu, 01 Jan 2026 00:00:00 GMT"`, `header 6 content-length -> Ok "38"`, `header 7 sum -> Ok "1"`}},
		{"GET _ /abort", []string{"token 4: 3 85 0"}},
		{"GET _ /half", []string{"token 4: 0 0 0"}},
		{"GET _ no-path", []string{"token 4: 2 0 0", `header 6 :status -> Ok "400"`}},
	}
	for _, tt := range tests {
		t.Run(tt.call, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{Clusters: map[string]http.Handler{"backend": backend}},
				"http-call-response: body 4 0 99; header 6 two; header 6 date; header 6 content-length; header 7 sum; header 6 :status")
			words := strings.SplitN(tt.call, " ", 4)
			rest := strings.Join(words[3:], " ")
			open(w.Worker(0), "request-headers", fmt.Sprintf("httpcall backend 0 %s :path=%s :method=%s :authority=backend %s", words[1], words[2], words[0], rest))
			if n := len(w.Logs().Containing("http-call-response")); n != 0 {
				t.Errorf("the handler has answered before Run")
			}
			if n := w.Worker(0).Run(); n != 1 {
				t.Errorf("Run took %d, want 1", n)
			}
			wantLog(t, w.Logs().OfWorker(0), append([]string{"1 http-call-response"}, tt.want...)...)
			if n := w.Run(); n != 0 {
				t.Errorf("the second Run took %d, want 0", n)
			}
		})
	}
}

// The upstream's headers that Go's server adds do not replace those of a handler.
func TestHTTPCallHandlerSetsAllHeaders(t *testing.T) {
	t.Parallel()
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", "today")
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(204)
	})
	w := newWorld(t, host.Config{Clusters: map[string]http.Handler{"auth": backend}},
		"http-call-response: header 6 :status; header 6 date; header 6 content-length; header 6 x-envoy-upstream-service-time")
	open(w.Worker(0), "request-headers", callAuth)
	w.Advance(7 * time.Millisecond)
	w.Run()
	wantLog(t, w.Logs().OfWorker(0), "token 4: 4 0 0", `header 6 :status -> Ok "204"`, `header 6 date -> Ok "today"`,
		`header 6 content-length -> Ok "0"`, `header 6 x-envoy-upstream-service-time -> Ok "7"`)
}

// A panic of a handler is a panic of the test.
func TestHTTPCallHandlerPanics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: map[string]http.Handler{"auth": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("ouch") })}})
	open(w.Worker(0), "request-headers", callAuth)
	wantPanic(t, "ouch", func() { w.Run() })
}

// Callouts of busy threads wait: their handlers are not asked and their time-outs come late.
func TestHTTPCallOfBusyThread(t *testing.T) {
	t.Parallel()
	asked := 0
	backend := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ })
	w := newWorld(t, host.Config{Clusters: map[string]http.Handler{"auth": nil, "backend": backend}})
	open(w.Worker(0), "request-headers", "httpcall auth 10 _ :path=/ :method=GET :authority=x; httpcall backend 0 _ :path=/ :method=GET :authority=x")
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_get_shared_data" {
			w.Advance(time.Second)
			if n := w.Run(); n != 0 || asked != 0 || len(w.HTTPCalls()) != 2 {
				t.Errorf("in the interceptor: Run took %d, the handler was asked %d times, %d callouts wait; want 0, 0 and 2", n, asked, len(w.HTTPCalls()))
			}
		}
	})
	open(w.Worker(0), "request-headers", "get k")
	w.Advance(0)
	w.Run()
	wantLog(t, w.Logs().OfWorker(0), "get k -> NotFound", "token 4: 3 24 0", "token 8: 4 0 0")
}

// Wrong use of a callout panics and says why.
func TestHTTPCallMisuse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		want string
		use  func(c *host.HTTPCall)
	}{
		{"host: HTTPCall.RespondBody before HTTPCall.RespondHeaders", func(c *host.HTTPCall) { c.RespondBody(nil, true) }},
		{"host: HTTPCall.RespondTrailers before HTTPCall.RespondHeaders", func(c *host.HTTPCall) { c.RespondTrailers(nil) }},
		{"host: HTTPCall.RespondHeaders twice", func(c *host.HTTPCall) {
			c.RespondHeaders(host.Response(200), false)
			c.RespondHeaders(host.Response(200), false)
		}},
		{"host: HTTPCall.RespondHeaders: want a :status among the headers, as host.Response makes them",
			func(c *host.HTTPCall) { c.RespondHeaders(host.Headers{{Name: "a", Value: "b"}}, true) }},
		{"host: HTTPCall.RespondHeaders after the answer was complete", func(c *host.HTTPCall) {
			c.Respond(host.Response(200), nil, nil)
			c.Respond(host.Response(200), nil, nil)
		}},
		{"host: HTTPCall.Reset after the answer was complete", func(c *host.HTTPCall) {
			c.Reset(host.RemoteReset)
			c.Reset(host.RemoteReset)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{Clusters: auth})
			open(w.Worker(0), "request-headers", callAuth)
			c := onlyCall(t, w)
			wantPanic(t, tt.want, func() { tt.use(c) })
		})
	}
}

func wantPanic(tb testing.TB, want string, f func()) {
	tb.Helper()
	defer func() {
		tb.Helper()
		if got := fmt.Sprint(recover()); got != want {
			tb.Errorf("got the panic %q, want %q", got, want)
		}
	}()
	f()
}
