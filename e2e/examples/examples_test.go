//go:build examples

// Package examples plays the examples of the Go SDK on the test host: each must do what its README
// and its own tests say. The examples are modules of their own that are not published, so the test
// needs a clone of the SDK, in $GO_SDK.
package examples_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// compile builds an example and compiles it for the host.
func compile(t *testing.T, folder, pkg string) *host.Module {
	t.Helper()
	sdk := os.Getenv("GO_SDK")
	if sdk == "" {
		t.Fatal("GO_SDK is not set, want the path of a clone of proxy-wasm/proxy-wasm-go-sdk")
	}
	out := filepath.Join(t.TempDir(), "example.wasm")
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-buildmode=c-shared", "-o", out, pkg)
	build.Dir = filepath.Join(sdk, "examples", folder)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	module, err := host.Compile(t.Context(), wasm, host.WithInterpreter())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { module.Close(t.Context()) })
	return module
}

func start(t *testing.T, module *host.Module, c host.Config) *host.World {
	t.Helper()
	world, err := host.NewWorld(module, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.Close(); err != nil {
			t.Error(err)
		}
	})
	return world
}

// send lets a request arrive on a worker. Its body comes in these parts.
func send(w *host.World, worker int, request host.Headers, body ...string) *host.Stream {
	s := w.Worker(worker).Open(request)
	s.RequestHeaders(len(body) == 0)
	for i, part := range body {
		s.RequestBody([]byte(part), i == len(body)-1)
	}
	w.Run()
	return s
}

func logged(t *testing.T, w *host.World, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if len(w.Logs().Containing(line)) == 0 {
			t.Errorf("no line %q in the log\n%s", line, w.Logs())
		}
	}
}

func replied(t *testing.T, s *host.Stream, status int, body string) {
	t.Helper()
	if r := s.LocalReply(); r == nil || r.Status != status || string(r.Body) != body {
		t.Errorf("got the local reply %+v, want %d %q", r, status, body)
	}
}

var get = host.Request("GET", "/")

// says is a cluster that answers every request alike.
func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
}

// examples are what is played of each folder.
var examples = map[string]func(*testing.T, *host.Module){
	"dispatch_call_on_tick": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{Clusters: map[string]http.Handler{"web_service": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/fail" {
				w.WriteHeader(503)
			}
		})}})
		for range 20 {
			w.Advance(100 * time.Millisecond)
			w.Run()
		}
		logged(t, w, "set tick period milliseconds: 100", "called 20 for contextID=1", ":status: 200", ":status: 503")
	},
	"foreign_call_on_tick": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{})
		w.Advance(3 * time.Millisecond)
		logged(t, w, "foreign function (compress) called: 3, result: 789c")
	},
	"helloworld": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{})
		w.Advance(time.Second)
		logged(t, w, "OnPluginStart from Go!", "It's 1767225601000000000", "OnTick called")
	},
	"http_auth_random": func(t *testing.T, m *host.Module) {
		for answer, status := range map[string]int{"a": 200, "b": 403} { // by the parity of their hash
			w := start(t, m, host.Config{Clusters: map[string]http.Handler{"httpbin": says(answer)}})
			s := send(w, 0, get)
			logged(t, w, "request header: :path: /", "http call dispatched to httpbin", "response header from httpbin: :status: 200")
			if status == 403 {
				replied(t, s, 403, "access forbidden")
			} else if !s.ToUpstream().Complete {
				t.Errorf("%s: the request was not resumed:\n%s", answer, w.Logs())
			}
		}
	},
	"http_body": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{})
		for operation, want := range map[string]string{
			"append": "[original body][this is appended body]", "prepend": "[this is prepended body][original body]",
			"replace": "[this is replaced body]", "invalid": "[this is replaced body]",
		} {
			s := send(w, 0, host.Request("PUT", "/", "content-length", "15", "buffer-operation", operation), "[original ", "body]")
			if got := string(s.ToUpstream().Body); got != want {
				t.Errorf("%s of a request: got %q, want %q", operation, got, want)
			}
			s = send(w, 0, host.Request("PUT", "/", "content-length", "1", "buffer-operation", operation, "buffer-replace-at", "response"), "x")
			s.ResponseHeaders(host.Response(200), false)
			s.ResponseBody([]byte("[original "), false)
			s.ResponseBody([]byte("body]"), true)
			if got := string(s.ToClient().Body); got != want {
				t.Errorf("%s of a response: got %q, want %q", operation, got, want)
			}
		}
		replied(t, send(w, 0, get), 400, "content must be provided")
		w = start(t, m, host.Config{PluginConfig: []byte("echo")})
		replied(t, send(w, 0, get, "hello ", "echo"), 200, "hello echo")
	},
	"http_body_chunk": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{})
		replied(t, send(w, 0, get, "one", "a pattern", "three"), 403, "pattern found in chunk: 2")
		if got := string(send(w, 0, get, "one", "two").ToUpstream().Body); got != "onetwo" {
			t.Errorf("got the body %q", got)
		}
		logged(t, w, "OnHttpRequestBody called. BodySize: 12, totalRequestBodyReadSize: 3, endOfStream: false", "pattern not found")
	},
	"http_headers": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{PluginConfig: []byte(`{"header": "x-wasm-header", "value": "demo-wasm"}`)})
		s := send(w, 0, host.Request("GET", "/", "this-is-key", "this-is-value"))
		s.ResponseHeaders(host.Response(200, "server", "envoy"), true)
		logged(t, w, "request header --> this-is-key: this-is-value", "response header <-- server: envoy")
		wasm, _ := s.ToClient().Headers.Get("x-wasm-header")
		example, _ := s.ToClient().Headers.Get("x-proxy-wasm-go-sdk-example")
		if wasm != "demo-wasm" || example != "http_headers" {
			t.Errorf("got %v", s.ToClient())
		}
	},
	"http_routing": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{})
		var seen []string
		for range 40 {
			authority, _ := send(w, 0, get).ToUpstream().Headers.Get(":authority")
			seen = append(seen, authority)
		}
		slices.Sort(seen)
		if got, want := slices.Compact(seen), []string{"example.test", "example.test-canary"}; !slices.Equal(got, want) {
			t.Errorf("got requests to %q, want %q", got, want)
		}
	},
	"json_validation": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{PluginConfig: []byte(`{"requiredKeys": ["my_key"]}`)})
		json := host.Request("POST", "/", "content-type", "application/json")
		if s := send(w, 0, json, `{"my_key": 1}`); !s.ToUpstream().Complete {
			t.Errorf("a valid body did not pass: %s", w.Logs())
		}
		replied(t, send(w, 0, json, `{"other": 1}`), 403, "invalid payload")
		replied(t, send(w, 0, get), 403, "content-type must be provided")
	},
	"metrics": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{Workers: 2})
		for i := range 5 {
			send(w, i%2, host.Request("GET", "/", "my-custom-header", "foo"))
		}
		if got := w.Metrics().Counters["custom_header_value_counts_value=foo_reporter=wasmgosdk"]; got != 5 {
			t.Errorf("got %v, want 5", w.Metrics())
		}
	},
	"multiple_dispatches": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{Clusters: map[string]http.Handler{"httpbin": says("")}})
		s := send(w, 0, get)
		s.ResponseHeaders(host.Response(200), true)
		w.Run()
		logged(t, w, "pending dispatched requests: 9", "pending dispatched requests: 1", "response resumed after processed 10 dispatched request")
		if n, _ := s.ToClient().Headers.Get("total-dispatched"); n != "10" {
			t.Errorf("got %v", s.ToClient())
		}
	},
	"network": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{Properties: map[string][]byte{host.PropertyPath("upstream", "address"): []byte("127.0.0.1:8099")}})
		c := w.Worker(0).Connect()
		c.DownstreamData([]byte("This-Is-Key"), false)
		c.UpstreamData([]byte("this-is-value"), true)
		c.DownstreamData(nil, true)
		logged(t, w, "new connection!", "downstream data received >>>>>>\nThis-Is-Key", "remote address: 127.0.0.1:8099",
			"upstream data received <<<<<<\nthis-is-value", "downstream connection close!", "connection complete!")
		if got := w.Metrics().Counters["proxy_wasm_go.connection_counter"]; got != 1 {
			t.Errorf("got %v", w.Metrics())
		}
	},
	"postpone_requests": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{})
		s := send(w, 0, get)
		if s.ToUpstream().Headers != nil {
			t.Error("the request was not postponed")
		}
		w.Advance(time.Second)
		logged(t, w, "postpone request with contextID=2", "resume request with contextID=2")
		if !s.ToUpstream().Complete {
			t.Error("the request was not resumed")
		}
	},
	"properties": func(t *testing.T, m *host.Module) {
		path := host.PropertyPath("route_metadata", "filter_metadata", "envoy.filters.http.wasm", "auth")
		w := start(t, m, host.Config{Properties: map[string][]byte{path: []byte("cookie")}})
		replied(t, send(w, 0, get), 401, "")
		if s := send(w, 0, host.Request("GET", "/", "cookie", "value")); !s.ToUpstream().Complete {
			t.Error("a request with the header did not pass")
		}
		logged(t, w, `auth header is "cookie"`, "2 finished")
		w = start(t, m, host.Config{})
		send(w, 0, get)
		logged(t, w, "no auth header for route")
	},
	"shared_data": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{Workers: 2})
		for i := range 10 {
			send(w, i%2, get)
		}
		count := func() uint64 { return binary.LittleEndian.Uint64(w.SharedData()["shared_data_key"].Bytes) }
		if count() != 10 {
			t.Errorf("got %d after 10 requests", count())
		}
		// What the example's own tests do not see: each VM that starts sets the number to nothing.
		w.Worker(1).Crash()
		if err := w.Worker(1).Reload(); err != nil {
			t.Fatal(err)
		}
		send(w, 0, get)
		if count() != 1 {
			t.Errorf("got %d after a reload and a request; the example does not lose its count any more", count())
		}
	},
	"vm_plugin_configuration": func(t *testing.T, m *host.Module) {
		w := start(t, m, host.Config{VMConfig: []byte("of the VM"), PluginConfig: []byte("of the plugin")})
		logged(t, w, "vm config: of the VM", "plugin config: of the plugin")
	},
}

func TestExamples(t *testing.T) {
	folders, err := filepath.Glob(filepath.Join(os.Getenv("GO_SDK"), "examples", "*", "main.go"))
	if err != nil || len(folders) != len(examples) {
		t.Errorf("got %d folders in %s, %v, want %d", len(folders), os.Getenv("GO_SDK"), err, len(examples))
	}
	for folder, play := range examples {
		t.Run(folder, func(t *testing.T) { play(t, compile(t, folder, ".")) })
	}
}

// The example of queues has two modules: one sends what it sees of requests and connections, the
// other receives it in a VM with another vm_id.
func TestSharedQueue(t *testing.T) {
	receiver := start(t, compile(t, "shared_queue", "./receiver"), host.Config{VMID: "receiver", PluginConfig: []byte("http_request_headers")})
	for _, queue := range []string{"http_response_headers", "tcp_data_hashes"} {
		if _, err := receiver.AddListener([]byte(queue)); err != nil {
			t.Fatal(err)
		}
	}
	module := compile(t, "shared_queue", "./sender")
	w := start(t, module, host.Config{Beside: receiver, VMID: "sender", PluginConfig: []byte("http")})
	s := send(w, 0, get)
	s.ResponseHeaders(host.Response(200), true)
	tcp, err := w.AddListener([]byte("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	tcp.Connect(0).UpstreamData([]byte("hello"), true)
	w.Run()
	logged(t, w, `enqueued data: {"key": ":path","value": "/"}`, `enqueued data: {"key": ":status","value": "200"}`)
	logged(t, receiver, `dequeued data from http_request_headers(queueID=1): {"key": ":path","value": "/"}`,
		`dequeued data from http_response_headers(queueID=2): {"key": ":status","value": "200"}`,
		fmt.Sprintf("dequeued data from tcp_data_hashes(queueID=3): %s", "e3e1efd54283d94f7081314b599d31b3"))
	for queue, left := range receiver.Queues() {
		if left != 0 {
			t.Errorf("%d items are left in %s", left, queue)
		}
	}
}
