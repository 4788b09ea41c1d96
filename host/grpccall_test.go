package host_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// rpc is a cluster whose gRPC server is the test.
var rpc = map[string]http.Handler{"rpc": nil}

// onlyRPC returns the only gRPC call that its server has not ended.
func onlyRPC(tb testing.TB, w *host.World) *host.GRPCCall {
	tb.Helper()
	calls := w.GRPCCalls()
	if len(calls) != 1 {
		tb.Fatalf("got %d gRPC calls, want 1; log:\n%s", len(calls), w.Logs())
	}
	return calls[0]
}

func messages(c *host.GRPCCall) string { return fmt.Sprintf("%q", c.Received()) }

// A filter puts something into a store, and the request waits for it.
func TestGRPCCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: rpc}, "grpc-receive: body 5 0 9; effective 2; continue 0")
	s := open(w.Worker(0), "request-headers", "grpccall =rpc 250 hello etcdserverpb.KV Put X-M=1; return 1")
	c := onlyRPC(t, w)
	if c.Worker != 0 || c.ContextID != 1 || c.Token != 5 || c.Cluster != "rpc" || c.Service != "etcdserverpb.KV" || c.Method != "Put" ||
		c.Timeout != 250*time.Millisecond || c.Streaming || !c.HalfClosed() || c.Done() || messages(c) != `["hello"]` {
		t.Errorf("got the call %+v with %s", c, messages(c))
	}
	if got := text(c.Headers); got != ":method=POST :path=/etcdserverpb.KV/Put :authority=rpc grpc-timeout=250m te=trailers content-type=application/grpc x-m=1" {
		t.Errorf("got the headers %s", got)
	}
	c.Respond([]byte("done"))
	wantLog(t, w.Logs().OfWorker(0), "1 grpc-receive", "token 5: 4", `body 5 0 9 -> Ok "done"`)
	if !c.Done() || c.Cancelled() || len(w.GRPCCalls()) != 0 || !s.ToUpstream().Complete {
		t.Errorf("got done %v, cancelled %v, %d calls, request at the upstream %v; want true, false, 0, true",
			c.Done(), c.Cancelled(), len(w.GRPCCalls()), s.ToUpstream().Complete)
	}
}

// A stream of messages in both directions, which the test serves.
func TestGRPCStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: rpc}, "grpc-initial: header 4 x-i", "grpc-receive: grpcsend $ got 0; body 5 0 9",
		"grpc-trailing: header 5 x-t", "grpc-close: status; grpcclose $; grpcclose $")
	open(w.Worker(0), "request-headers", "grpcstream =rpc svc Watch x-m=1; grpcsend $ hello 0")
	c := onlyRPC(t, w)
	if !c.Streaming || c.Token != 6 || c.HalfClosed() || messages(c) != `["hello"]` {
		t.Errorf("got the stream %+v with %s", c, messages(c))
	}
	if got := text(c.Headers); got != ":method=POST :path=/svc/Watch :authority=rpc te=trailers content-type=application/grpc x-m=1" {
		t.Errorf("got the headers %s", got)
	}
	w.Advance(time.Hour) // a stream has no time-out
	c.RespondHeaders(host.Headers{{Name: "X-I", Value: "i"}})
	c.Send([]byte("one"))
	c.Send([]byte("two"))
	c.Close(5, "gone~", host.Headers{{Name: "X-T", Value: "t"}})
	wantLog(t, w.Logs().OfWorker(0), "1 grpc-initial", "token 6: 3", `header 4 x-i -> Ok "i"`, "1 grpc-receive", `body 5 0 9 -> Ok "one"`, `body 5 0 9 -> Ok "two"`,
		"1 grpc-trailing", "token 6: 3", `header 5 x-t -> Ok "t"`, "1 grpc-close", "token 6: 5", `status -> Ok 5 "gone%7E{via_upstream}"`, "grpcclose $ -> Ok", "grpcclose $ -> NotFound")
	if messages(c) != `["hello" "got" "got"]` || !c.Done() || c.Cancelled() {
		t.Errorf("got the messages %s, done %v, cancelled %v", messages(c), c.Done(), c.Cancelled())
	}
	// The caller of Received owns what it gets.
	c.Received()[0][0] = 'X'
	if messages(c) != `["hello" "got" "got"]` {
		t.Errorf("after a change of a copy: got %s", messages(c))
	}
}

// What proxy_grpc_call and its relatives return for arguments that make no sense, beyond what
// e2e/hostcalls shows.
func TestGRPCStatuses(t *testing.T) {
	t.Parallel()
	const bad = "0xfffffff0 1"
	lines := transcript{
		`grpccall \x12\x05\x0a\x03abc 0 _ s m -> BadArgument token 0`, // google_grpc
		`grpcstream \x0a\x01 s m -> ParseFailure token 99`,            // half a message
		`grpccall =rpc 0 _ s m -> Ok 9`,
		"raw grpccall " + bad + " 0 0 0 0 0 0 0 0 0 0 -> InvalidMemoryAccess",
		"raw grpccall 0 0 " + bad + " 0 0 0 0 0 0 0 0 -> InvalidMemoryAccess",
		"raw grpccall 0 0 0 0 " + bad + " 0 0 0 0 0 0 -> InvalidMemoryAccess",
		"raw grpccall 0 0 0 0 0 0 " + bad + " 0 0 0 0 -> InvalidMemoryAccess",
		"raw grpccall 0 0 0 0 0 0 0 0 " + bad + " 0 0 -> InvalidMemoryAccess",
		"raw grpcstream " + bad + " 0 0 0 0 0 0 0 -> InvalidMemoryAccess",
		"raw grpcstream 0 0 " + bad + " 0 0 0 0 0 -> InvalidMemoryAccess",
		"raw grpcstream 0 0 0 0 " + bad + " 0 0 0 -> InvalidMemoryAccess",
		"raw grpcstream 0 0 0 0 0 0 " + bad + " 0 -> InvalidMemoryAccess",
		"raw grpcsend 6 " + bad + " 0 -> InvalidMemoryAccess",
	}
	w := newWorld(t, host.Config{Clusters: rpc})
	open(w.Worker(0), "request-headers", lines.script())
	wantLog(t, w.Logs().OfWorker(0), lines...)
	onlyRPC(t, w)
}

// Some calls kill or hang an Envoy. Here the VM fails, and says why.
func TestGRPCThatKillsEnvoy(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{
		"grpccall _ 0 _ s m":                             "a GrpcService without a target: Envoy crashes here",
		"grpcstream h2 s m":                              "a GrpcService without a target: Envoy crashes here", // a field with an unknown number
		"grpccall =empty 0 _ s m; grpcstream =empty s m": "proxy_on_grpc_receive_initial_metadata in a hostcall, after a callout has failed in the same callback: Envoy hangs here",
	} {
		w := newWorld(t, host.Config{Clusters: map[string]http.Handler{"empty": host.NoEndpoints, "h2": nil}})
		s := open(w.Worker(0), "request-headers", script)
		if !w.Worker(0).Failed() || len(w.Logs().Containing(want)) != 1 || s.LocalReply() == nil {
			t.Errorf("%s: failed %v, want true; log:\n%s", script, w.Worker(0).Failed(), w.Logs())
		}
	}
}

// In a stream to a cluster without endpoints, what was deferred so far happens in the middle of the
// hostcall.
func TestGRPCStreamCarriesOutTooEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: map[string]http.Handler{"empty": host.NoEndpoints}})
	open(w.Worker(0), "request-headers", "close 0; grpcstream =empty s m; say after", "log", "say ended")
	wantLog(t, w.Logs().OfWorker(0), "2 request-headers", "close 0 -> Ok", "1 grpc-initial", "token 6: 0", "2 log", "say ended -> ended", "2 delete",
		"1 grpc-trailing", "token 6: 4", "grpcstream =empty s m -> InternalFailure token 0", "say after -> after", "1 grpc-close", "token 6: 14")
}

// What a server does while the guest is in a call reaches the guest afterwards, in order.
func TestGRPCServerDuringCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: rpc}, "grpc-receive: body 5 0 9")
	open(w.Worker(0), "request-headers", "grpcstream =rpc s m")
	c := onlyRPC(t, w)
	w.Intercept(func(call *host.Call) {
		if call.Name == "proxy_get_shared_data" {
			c.Send([]byte("one"))
			c.Send([]byte("two"))
			c.Close(0, "", nil)
		}
	})
	open(w.Worker(0), "request-headers", "get k; say done")
	wantLog(t, w.Logs().OfWorker(0), "get k -> NotFound", "say done -> done", "1 grpc-initial", `body 5 0 9 -> Ok "one"`, `body 5 0 9 -> Ok "two"`, "1 grpc-trailing", "1 grpc-close")
}

// The server sees that the guest cancels, that its plugin context ends, and that its VM is
// replaced. What it does then goes nowhere.
func TestGRPCIsCancelled(t *testing.T) {
	t.Parallel()
	const start = "configure: grpcstream =rpc s m; grpccall =rpc 100 x s m"
	w := newWorld(t, host.Config{Clusters: rpc}, start, "tick: grpccancel 6")
	if _, err := w.AddListener([]byte("configure: tick 1")); err != nil {
		t.Fatal(err)
	}
	calls := w.GRPCCalls()
	if len(calls) != 4 { // on two threads
		t.Fatalf("got %d calls, want 4", len(calls))
	}
	w.Listeners()[0].Drain()
	for _, c := range calls {
		if !c.Cancelled() || !c.Done() {
			t.Errorf("after the drain: got cancelled %v, done %v, want true", c.Cancelled(), c.Done())
		}
		c.RespondHeaders(nil)
		c.Send([]byte("late"))
		c.Reset(host.RemoteReset)
		c.Close(0, "", nil)
	}
	w.Advance(time.Second)
	if got := w.Logs().Containing("grpc-"); len(got) != 0 {
		t.Errorf("got callbacks after the drain:\n%s", got)
	}

	w = newWorld(t, host.Config{Clusters: rpc})
	open(w.Worker(0), "request-headers", "grpcstream =rpc s m; grpcstream =rpc s m; grpccancel 6")
	c := onlyRPC(t, w)
	w.Worker(0).Crash()
	c.Send([]byte("to a dead VM"))
	if c.Done() {
		t.Error("the crash alone has cancelled the stream")
	}
	if err := w.Worker(0).Reload(); err != nil || !c.Cancelled() {
		t.Errorf("after the reload: got the error %v, cancelled %v, want true", err, c.Cancelled())
	}
	if got := w.Logs().Containing("grpc-"); len(got) != 0 {
		t.Errorf("got callbacks in a dead VM:\n%s", got)
	}
}

// Envoy gives up a call after the time-out, and an answer with another HTTP status.
func TestGRPCIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: rpc}, "grpc-close: status")
	open(w.Worker(0), "request-headers", "grpccall =rpc 100 x s m; grpcstream =rpc s m")
	calls := w.GRPCCalls()
	calls[1].RespondHeaders(host.Response(503))
	w.Advance(99 * time.Millisecond)
	if calls[0].Done() || !calls[1].Cancelled() {
		t.Errorf("got done %v, cancelled %v, want false, true", calls[0].Done(), calls[1].Cancelled())
	}
	w.Advance(time.Millisecond)
	if !calls[0].Cancelled() {
		t.Error("the call is not cancelled after its time-out")
	}
	wantLog(t, w.Logs().OfWorker(0), "token 6: 14", `status -> Ok 14 "via_upstream"`, "token 5: 14", `status -> Ok 14 "upstream request timeout{response_timeout}"`)
	calls[0].Respond([]byte("too late"))
	calls[1].Close(0, "", nil)
}

// A handler may be a gRPC server. It answers calls, and streams whose guest has ended its half.
func TestGRPCHandler(t *testing.T) {
	t.Parallel()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("Content-Type", "application/grpc")
		reply := fmt.Sprintf("%s %s %s %q", r.Proto, r.URL.Path, r.Header.Get("Te"), b)
		w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(reply))), reply...))
		w.Header().Set("Grpc-Status", "0")
	})
	w := newWorld(t, host.Config{Clusters: map[string]http.Handler{"echo": echo}}, "grpc-receive: body 5 0 200")
	open(w.Worker(0), "request-headers", "grpccall =echo 0 hello svc Call; grpcstream =echo svc Open; grpcsend 6 a 0; grpcstream =echo svc Shut; grpcsend 10 a 0; grpcsend 10 b 1")
	if n := w.Run(); n != 2 {
		t.Errorf("Run took %d, want 2", n)
	}
	wantLog(t, w.Logs().OfWorker(0), `body 5 0 200 -> Ok "HTTP/2.0 /svc/Call trailers \"\\x00\\x00\\x00\\x00\\x05hello\""`,
		`body 5 0 200 -> Ok "HTTP/2.0 /svc/Shut trailers \"\\x00\\x00\\x00\\x00\\x01a\\x00\\x00\\x00\\x00\\x01b\""`, "1 grpc-close", "token 10: 0")
	if c := onlyRPC(t, w); c.Method != "Open" {
		t.Errorf("got the open stream %s, want Open", c.Method)
	}
}

// The interceptor sees the cluster, or what stands in its place.
func TestGRPCKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: rpc})
	var keys []string
	w.Intercept(func(c *host.Call) {
		if strings.HasPrefix(c.Name, "proxy_grpc_") {
			keys = append(keys, c.Key)
		}
	})
	open(w.Worker(0), "request-headers", "grpccall =rpc 0 x s m; grpcstream elsewhere s m; grpcstream refused s m")
	if got := fmt.Sprintf("%q", keys); got != `["rpc" "elsewhere" "refused"]` {
		t.Errorf("got the keys %s", got)
	}
}

// Wrong use of a gRPC call panics and says why.
func TestGRPCMisuse(t *testing.T) {
	t.Parallel()
	for want, use := range map[string]func(c *host.GRPCCall){
		"host: GRPCCall.RespondHeaders after the headers were sent": func(c *host.GRPCCall) { c.Send(nil); c.RespondHeaders(nil) },
		"host: GRPCCall.Send after the answer was complete":         func(c *host.GRPCCall) { c.Close(0, "", nil); c.Send(nil) },
		"host: GRPCCall.Close after the answer was complete":        func(c *host.GRPCCall) { c.Respond(nil); c.Close(0, "", nil) },
		"host: GRPCCall.Reset after the answer was complete":        func(c *host.GRPCCall) { c.Reset(host.RemoteReset); c.Reset(host.RemoteReset) },
	} {
		w := newWorld(t, host.Config{Clusters: rpc})
		open(w.Worker(0), "request-headers", "grpcstream =rpc s m")
		c := onlyRPC(t, w)
		wantPanic(t, want, func() { use(c) })
	}
}
