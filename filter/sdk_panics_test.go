package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
	"github.com/streamlatch/streamlatch/host/gobuild"
)

// A panic in the filter cuts every stream of its worker, and the SDK panics in many places. These
// tests let every hostcall that the filter makes fail in every way and in every phase of a stream,
// and give the filter every empty value that Envoy can give. No VM may fail, and the workers must
// go on serving.

// everyFeature is a configuration in which each feature of the filter is on in some rule.
const everyFeature = `{
	"rules": [
		{"name": "request", "match": {"path": {"prefix": "/request"}}, "client": [{"header": "x-client-id"}],
		 "claim_at": "request", "takeover_limit": false},
		{"name": "waiting", "match": {"path": {"prefix": "/waiting"}}, "client": [{"header": "x-client-id"}],
		 "claim_at": "request", "takeover_limit": false, "idle_timeout": "3s"},
		{"name": "goodbye", "match": {"path": {"prefix": "/goodbye"}}, "client": [{"header": "x-client-id"}],
		 "instance": [{"header": "x-instance"}], "goodbye_grace": "1s", "max_lifetime": "4s", "takeover_limit": false},
		{"name": "observe", "match": {"path": {"prefix": "/observe"}}, "client": [{"header": "x-client-id"}],
		 "mode": "observe", "max_lifetime": "2s"},
		{"name": "reject", "match": {"path": {"prefix": "/reject"}, "headers": [{"name": "accept", "contains": "event"}]},
		 "client": [{"header": "x-client-id"}], "on_duplicate": "reject_new"},
		{"name": "keys", "match": {"path": {"prefix": "/keys"}}, "client": [
			{"header": "x-client-id"}, {"cookie": "sid"}, {"query": "q"}, {"property": ["plugin_name"]},
			{"jwt_claim": {"metadata_key": "jwt", "claim": ["org", "id"]}}, {"source_address": true}]}
	],
	"max_total_streams": 10000, "on_contention": "refuse", "admin_path": "/admin"
}`

var everyRule = []string{"request", "waiting", "goodbye", "observe", "reject", "keys"}

// life drives a worker through all that can happen, in named phases.
type life struct {
	*host.World
	phase   string
	clients int
}

func newLife(t *testing.T) *life {
	t.Helper()
	m, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	w, err := host.NewWorld(m, lifeConfig(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &life{World: w}
}

func lifeConfig(intercept func(*host.Call)) host.Config {
	return host.Config{
		Workers: 2, PluginConfig: []byte(everyFeature), PluginName: "plugin", Intercept: intercept,
		Properties: map[string][]byte{
			host.PropertyPath("source", "address"): []byte("192.0.2.1:4711"),
			host.PropertyPath("metadata", "filter_metadata", "envoy.filters.http.jwt_authn", "jwt", "org", "id"): []byte("acme"),
		},
	}
}

// request lets a request of a rule arrive, and the response if the filter lets the request go on.
func (l *life) request(worker int, rule, client string) *host.Stream {
	l.phase = "request"
	s := l.Worker(worker).Open(host.Request("GET", "/"+rule+"?q=1", "accept", "text/event-stream",
		"x-client-id", client, "x-instance", fmt.Sprint(worker), "cookie", "sid=1"))
	s.RequestHeaders(true)
	l.respond(s)
	return s
}

func (l *life) respond(s *host.Stream) {
	if s.ToUpstream().Headers == nil || s.ToClient().Headers != nil {
		return
	}
	l.phase = "response"
	s.ResponseHeaders(eventStream, false)
	l.body(s)
}

func (l *life) body(s *host.Stream) {
	if s.ToClient().Headers != nil {
		l.phase = "body"
		s.ResponseBody([]byte("data: 1\n\n"), false)
		s.ResponseBody(nil, false)
	}
}

func (l *life) wake() { l.phase = "wake-up"; l.Run() }

func (l *life) admin(method, path string) {
	l.phase = "admin"
	s := l.Worker(0).Open(host.Request(method, path))
	s.RequestHeaders(true)
	s.End()
}

// run is one pass through everything, with clients that no pass before had. All its streams have
// ended when it returns.
func (l *life) run() {
	l.clients++
	var streams []*host.Stream
	client := func(rule string) string { return fmt.Sprintf("%s-%d", rule, l.clients) }
	for _, rule := range everyRule {
		streams = append(streams, l.request(0, rule, client(rule)))
	}
	for _, rule := range everyRule { // each meets an older stream on another worker, and one on its own
		streams = append(streams, l.request(1, rule, client(rule)), l.request(1, rule, client(rule)))
	}
	l.wake()
	l.admin("GET", "/admin")
	l.admin("DELETE", "/admin/streams/request/"+client("request"))
	for _, s := range streams {
		l.respond(s) // of requests that waited
		l.body(s)    // on streams that leave: the goodbye
	}
	l.wake()
	l.phase = "end"
	for _, s := range streams[:len(streams)/2] {
		s.End()
	}
	l.phase = "tick"
	l.Advance(2 * time.Second)
	for _, s := range streams {
		l.respond(s)
		l.body(s)
	}
	l.wake()
	l.phase = "tick"
	l.Advance(5 * time.Second) // past every limit
	l.wake()
	l.phase = "end"
	for _, s := range streams {
		s.End()
	}
	l.phase = "after"
}

// healthy fails the test unless no VM has failed and, faults gone and some seconds later, the
// workers serve: the latest stream of a client lives, its older one does not, nothing is left
// behind.
func (l *life) healthy(t *testing.T, after string) {
	t.Helper()
	l.Intercept(nil)
	for i := range 2 {
		if l.Worker(i).Failed() {
			t.Fatalf("%s: the VM of worker %d has failed:\n%v", after, i, l.Logs().OfWorker(i).AtLeast(host.LogError))
		}
	}
	l.Advance(4 * time.Second) // missed heartbeats, claims and releases left to ticks
	l.Run()
	l.clients++
	client := fmt.Sprintf("healthy-%d", l.clients)
	older := l.request(0, "request", client)
	newer := l.request(1, "request", client)
	l.Run()
	l.respond(newer) // it has waited for the older one to end
	if older.Ending() != host.Reset || newer.Ended() || newer.ToClient().Headers == nil {
		t.Errorf("%s: the older stream of a client: %v; the newer: ended %v, headers %v; want the older reset and the newer open",
			after, older.Ending(), newer.Ended(), newer.ToClient().Headers)
	}
	newer.End()
	l.Advance(time.Second)
	for i := range 2 {
		if n := l.Worker(i).Contexts(); n != 1 {
			t.Errorf("%s: worker %d has %d contexts, want its plugin's alone", after, i, n)
		}
	}
}

// exact fails the test unless the gauges of a healthy Envoy without streams are 0.
func (l *life) exact(t *testing.T, after string) {
	t.Helper()
	for name, value := range l.Metrics().Gauges {
		if strings.HasSuffix(name, ".active") && value != 0 {
			t.Errorf("%s: %s is %d after all streams have ended, want 0", after, name, int64(value))
		}
	}
}

// failures are the statuses that Envoy gives to a hostcall of the filter (proxy-wasm-cpp-host,
// src/exports.cc; Envoy, source/extensions/common/wasm/context.cc). InternalFailure is what a
// hostcall answers that capability_restriction_config forbids. The SDK knows all but
// InvalidMemoryAccess, so that one stands for the statuses that it does not know.
var failures = []host.Status{
	host.StatusNotFound, host.StatusBadArgument, host.StatusInvalidMemoryAccess, host.StatusEmpty,
	host.StatusCasMismatch, host.StatusInternalFailure, host.StatusUnimplemented,
}

// giving are the hostcalls that give the guest something. If they answer StatusOk alone, they give
// a null pointer and size 0, as Envoy gives an empty value (copyToPointerSize), or the number 0.
var giving = []string{
	"proxy_get_header_map_value", "proxy_get_property", "proxy_get_buffer_bytes", "proxy_get_shared_data",
	"proxy_dequeue_shared_queue", "proxy_get_metric", "proxy_get_log_level",
}

func answers(name string) []host.Status {
	all := failures
	if slices.Contains(giving, name) {
		all = append([]host.Status{host.StatusOk}, failures...)
	}
	if testing.Short() {
		return all[:1]
	}
	return all
}

// made are the hostcalls that the filter makes, by phase.
func made(t *testing.T) map[string][]string {
	t.Helper()
	l := newLife(t)
	calls := map[string]map[string]bool{}
	l.Intercept(func(c *host.Call) {
		if calls[l.phase] == nil {
			calls[l.phase] = map[string]bool{}
		}
		calls[l.phase][c.Name] = true
	})
	l.run()
	l.healthy(t, "no fault")
	l.exact(t, "no fault")
	byPhase := map[string][]string{}
	for phase, names := range calls {
		byPhase[phase] = slices.Sorted(maps.Keys(names))
	}
	return byPhase
}

// faulty runs a life in which each call of this name in this phase answers status. It reports
// whether there was one.
func (l *life) faulty(t *testing.T, phase, name string, status host.Status) (hit bool) {
	l.Intercept(func(c *host.Call) {
		if l.phase == phase && c.Name == name {
			hit = true
			c.Answer(status)
		}
	})
	l.run()
	l.healthy(t, fmt.Sprintf("%s answers %v in phase %s", name, status, phase))
	return hit
}

func TestEveryHostcallFails(t *testing.T) {
	t.Parallel()
	phases := made(t)
	for phase, names := range phases {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			l := newLife(t)
			for _, name := range names {
				for _, status := range answers(name) {
					if l.faulty(t, phase, name, status) {
						continue
					}
					l = newLife(t) // a call that a worker makes once
					if !l.faulty(t, phase, name, status) {
						t.Errorf("%s is not made in phase %s", name, phase)
					}
				}
			}
		})
	}
	for _, phase := range []string{"request", "response", "body", "wake-up", "tick", "admin", "end"} {
		if len(phases[phase]) == 0 {
			t.Errorf("no hostcall is made in phase %s: the test looks in the wrong place", phase)
		}
	}
}

// Several hostcalls fail in one life, at random.
func TestHostcallsFailAtRandom(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	seeds := uint64(60)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, 0))
		one := 2 + random.IntN(30) // in so many calls fails
		l.Intercept(func(c *host.Call) {
			if random.IntN(one) == 0 {
				all := answers(c.Name)
				c.Answer(all[random.IntN(len(all))])
			}
		})
		l.run()
		l.healthy(t, fmt.Sprintf("seed %d", seed))
	}
}

// A hostcall that fails while the plugin starts costs a metric or a log line, or the configuration
// is refused. The VM does not fail: Envoy would then accept no configuration any more.
func TestEveryHostcallFailsAtStart(t *testing.T) {
	t.Parallel()
	m, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	start := func(intercept func(*host.Call)) (refused *host.StartError) {
		t.Helper()
		w, err := host.NewWorld(m, lifeConfig(intercept))
		if err == nil {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			return nil
		}
		if !errors.As(err, &refused) {
			t.Fatal(err)
		}
		return refused
	}
	calls := map[string]bool{}
	start(func(c *host.Call) { calls[c.Name] = true })
	if !calls["proxy_get_buffer_bytes"] || !calls["proxy_define_metric"] {
		t.Fatalf("at start the filter makes %v: the test looks in the wrong place", slices.Sorted(maps.Keys(calls)))
	}
	for name := range calls {
		for _, status := range answers(name) {
			refused := start(func(c *host.Call) {
				if c.Name == name {
					c.Answer(status)
				}
			})
			switch {
			case name != "proxy_get_buffer_bytes" && refused != nil:
				t.Errorf("%s answers %v: %v, want it started", name, status, refused)
			case name == "proxy_get_buffer_bytes" && refused == nil:
				t.Errorf("%s answers %v: started, want the configuration refused", name, status)
			case refused != nil && len(refused.Logs.Containing("empty configuration")) == 0:
				t.Errorf("%s answers %v: %v, want the configuration refused as empty", name, status, refused)
			}
		}
	}
}

// Envoy wakes a queue's context by its id in the VM that the thread has then. After a crash that
// may be a new VM, in which the id is a stream's, of which the SDK knows no plugin context.
func TestWakeupsOfADeadVM(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{Workers: 4, FailurePolicy: host.FailReload})
	first := e.Listeners()[0]
	second, err := e.AddListener([]byte(withGoodbye))
	if err != nil {
		t.Fatal(err)
	}
	open := func(l *host.Listener, worker int, client string) *host.Stream {
		s := l.Open(worker, host.Request("GET", "/events", "accept", "text/event-stream", "x-client-id", client))
		s.RequestHeaders(true)
		s.ResponseHeaders(eventStream, false)
		return s
	}
	open(second, 0, "alice") // the plugin context of second is 2, the stream is 3
	e.Worker(0).Crash()
	e.Advance(1600 * time.Millisecond)
	other := open(first, 0, "bob") // in a new VM
	if other.ID() != 2 {
		t.Fatalf("the first stream in the new VM has id %d, want that of the dead plugin context, 2", other.ID())
	}
	open(second, 1, "alice") // tells the dead VM's queue
	if len(e.PendingWakeups()) == 0 {
		t.Fatal("nobody is woken: the test looks in the wrong place")
	}
	e.Run()
	if e.Worker(0).Failed() {
		t.Fatal("the new VM has failed")
	}
	e.live(other, true)

	// When the first listener ends, the second one's queue is not forgotten.
	old := open(second, 1, "carol")
	first.Drain()
	other.End()
	open(second, 2, "carol")
	e.Run()
	old.ResponseBody([]byte("data: 1\n\n"), false)
	e.Run()
	e.superseded(old)
	e.counted(map[string]uint64{"lost_wakeups": 0})
}

// The SDK whose panics were looked for, see DESIGN.md. A newer one may panic elsewhere: look again.
const reviewedSDK = "v0.0.0-20260105142703-44c7d5847745"

// reviewedCalls are the functions of the SDK that the filter calls, and why they do not panic.
var reviewedCalls = map[string]string{
	"SetVMContext":              "calls nothing",
	"GetPluginConfiguration":    "a null pointer is an error",
	"SetTickPeriodMilliSeconds": "gets and gives no memory",
	"SetEffectiveContext":       "gets and gives no memory",
	"ResumeHttpRequest":         "gets and gives no memory",
	"ResumeHttpResponse":        "gets and gives no memory",
	"RegisterSharedQueue":       "a null pointer for an empty name",
	"EnqueueSharedQueue":        "panics at an empty message: plugin.envoy lets none pass",
	"DequeueSharedQueue":        "unsafe.Slice of a null pointer and size 0 is nil",
	"GetSharedData":             "unsafe.Slice of a null pointer and size 0 is nil",
	"SetSharedData":             "a null pointer for an empty value",
	"GetProperty":               "unsafe.Slice as above; panics at the path {\"\"}: config refuses empty parts",
	"SetProperty":               "an empty value is an error; the path is a constant",
	"GetHttpRequestBody":        "a null pointer is an error",
	"GetHttpResponseBody":       "a null pointer is an error",
	"AppendHttpResponseBody":    "a null pointer for empty data",
	"ReplaceHttpResponseBody":   "a null pointer for empty data",
	"SendHttpResponse":          "the serialised headers are never empty",
	"LogDebug":                  "a null pointer for an empty line",
	"LogInfo":                   "a null pointer for an empty line",
	"LogWarn":                   "a null pointer for an empty line",
	"LogError":                  "a null pointer for an empty line",
}

func TestReviewedSDK(t *testing.T) {
	t.Parallel()
	module := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", "github.com/proxy-wasm/proxy-wasm-go-sdk")
	version, err := module.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(version)); got != reviewedSDK {
		t.Errorf("the SDK is %s; its panics were looked for in %s", got, reviewedSDK)
	}
	calls := map[string]bool{}
	files, err := filepath.Glob("plugin/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, "main.go") {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "proxywasm" {
					calls[s.Sel.Name] = true
				}
			}
			return true
		})
	}
	if got, want := slices.Sorted(maps.Keys(calls)), slices.Sorted(maps.Keys(reviewedCalls)); !slices.Equal(got, want) {
		t.Errorf("the filter calls of the SDK\n%v\nand reviewed are\n%v", got, want)
	}
}

// The filter says ABI 0.2.1, the SDK 0.2.0, and Envoy takes what is exported first.
func TestABIVersionIsExportedFirst(t *testing.T) {
	t.Parallel()
	for _, pkg := range []string{".", "../e2e/guests/crash"} {
		wasm, err := gobuild.Build(t.Context(), pkg, "")
		if err != nil {
			t.Fatal(err)
		}
		// The names of exports stand in the module as their length and their text, in order. The
		// code and data of a module that is built with -s have neither name a second time.
		at := func(name string) int {
			entry := append([]byte{byte(len(name))}, name...)
			if n := bytes.Count(wasm, entry); n != 1 {
				t.Fatalf("%s: %s is there %d times, want once", pkg, name, n)
			}
			return bytes.Index(wasm, entry)
		}
		if at("proxy_abi_version_0_2_1") > at("proxy_abi_version_0_2_0") {
			t.Errorf("%s: proxy_abi_version_0_2_0 is exported first", pkg)
		}
	}
}

// Go's collector runs in goroutines of its own, and a callback gives them no turn. With many
// streams it cannot finish a cycle in passing, and the memory grows with every request until the VM
// dies.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	streams, requests := 16_000, 30_000
	if testing.Short() {
		streams, requests = 2_000, 3_000
	}
	for i := range streams {
		e.request(0, fmt.Sprint(i)).ResponseHeaders(eventStream, false)
	}
	e.Advance(2 * time.Second)
	before := e.Worker(0).MemoryBytes()
	for range 15 {
		for range requests / 15 {
			e.request(0, "page").ResponseHeaders(host.Response(200, "content-type", "text/html"), true)
		}
		e.Advance(time.Second)
	}
	if after := e.Worker(0).MemoryBytes(); after > before*3/2 {
		t.Errorf("%d requests that leave nothing behind: the memory grew from %d to %d KiB", requests, before>>10, after>>10)
	}
}
