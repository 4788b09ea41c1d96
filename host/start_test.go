package host_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// With n workers the plugin starts n+2 times, twice on the main thread. What the canary did to
// shared data stays.
func TestStartUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 3, VMConfig: []byte("say vm")},
		"configure: define 0 starts; increment $ 1; get canary; set canary x 4294967295; body 7 0 9; register own; tick 1000")
	if got := w.Metrics().Counters["starts"]; got != 5 {
		t.Errorf("got %d starts of the plugin, want 5 for 3 workers", got)
	}
	started := make(map[int]int)
	var order []int
	for _, entry := range w.Logs().Containing("1 configure") {
		started[entry.Worker]++
		order = append(order, entry.Worker)
	}
	if want := []int{host.MainThread, host.MainThread, 0, 1, 2}; !slices.Equal(order, want) {
		t.Errorf("got starts on the threads %v, want %v", order, want)
	}
	main := w.Logs().OfWorker(host.MainThread)
	wantLog(t, main, "1 vm-start", "say vm -> vm", "1 configure", "get canary -> NotFound", `body 7 0 9 -> Ok "configure"`,
		"1 vm-start", "1 configure", `get canary -> Ok "x" cas 1`, "set canary x 4294967295 -> CasMismatch")
	if len(main.Containing(" done")) > 0 || len(main.Containing(" delete")) > 0 {
		t.Errorf("want no on_done and no on_delete in the canary, got\n%s", main)
	}
	// The main thread keeps a VM of its own, whose timer runs.
	if n := w.Worker(host.MainThread).Tick(); n != 1 {
		t.Errorf("got %d ticks on the main thread, want 1", n)
	}
}

func TestRefusedConfiguration(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		config  host.Config
		thread  string
		reason  string
		logLine string
	}{
		{"on_configure returns false", host.Config{PluginConfig: []byte("configure: say rule+1+is+bad; return 0")},
			"main thread (canary)", "proxy_on_configure returned false", "say rule+1+is+bad -> rule+1+is+bad"},
		{"on_configure traps", host.Config{PluginConfig: []byte("configure: panic ouch")},
			"main thread (canary)", "proxy_on_configure trapped", "ouch"},
		{"on_vm_start returns false", host.Config{VMConfig: []byte("return 0")},
			"main thread (canary)", "proxy_on_vm_start returned false", "1 vm-start"},
		{"on_configure traps on a worker only", host.Config{PluginConfig: []byte("configure: get k; set k x $; say third+time?"),
			Intercept: trapThirdStart()}, "worker 0", "proxy_on_configure trapped", "trap injected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := host.NewWorld(module(t), tt.config)
			var start *host.StartError
			if !errors.As(err, &start) {
				t.Fatalf("got the error %v, want a *StartError", err)
			}
			if start.Thread != tt.thread || start.Reason != tt.reason {
				t.Errorf("got the reason %q on %q, want %q on %q", start.Reason, start.Thread, tt.reason, tt.thread)
			}
			if len(start.Logs.Containing(tt.logLine)) == 0 || !strings.Contains(err.Error(), tt.logLine) {
				t.Errorf("want the guest's log line %q in the error, got\n%v", tt.logLine, err)
			}
		})
	}
}

// trapThirdStart makes the third start of the plugin trap, which is that on worker 0.
func trapThirdStart() func(*host.Call) {
	sets := 0
	return func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" {
			if sets++; sets == 3 {
				c.Trap("third start")
			}
		}
	}
}

// One error names all faults, so the author of a filter can fix them together.
func TestCompileNamesAllFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		wasm []byte
		want []string
	}{
		{"not wasm", []byte("<html>"), []string{"compile guest: invalid magic number"}},
		{"missing imports", testModule{
			imports: []function{
				{module: "env", name: "proxy_get_configuration", typ: "ii->i"},
				{module: "env", name: "proxy_log", typ: "iii->i"},
				{module: "env", name: "proxy_frobnicate", typ: "->i"},
				{module: "wasi_snapshot_preview1", name: "fd_frobnicate", typ: "->"},
			},
			exports: minimalExports(),
		}.bytes(), []string{"guest imports functions that this host lacks: env.proxy_get_configuration, env.proxy_frobnicate, wasi_snapshot_preview1.fd_frobnicate"}},
		{"an import with the wrong type", testModule{
			imports: []function{{module: "env", name: "proxy_log", typ: "iI->i"}},
			exports: minimalExports(),
		}.bytes(), []string{"env.proxy_log has type iI->i, want iii->i"}},
		{"an import of a later ABI", testModule{
			imports: []function{{module: "env", name: "proxy_get_log_level", typ: "i->i"}},
			exports: append(minimalExports()[1:], function{name: "proxy_abi_version_0_2_0", typ: "->"}),
		}.bytes(), []string{"lacks: env.proxy_get_log_level"}},
		{"missing exports", testModule{noMemory: true, exports: []function{{name: "proxy_on_tick", typ: "i->"}}}.bytes(),
			[]string{"guest lacks required exports: proxy_abi_version_0_1_0, proxy_abi_version_0_2_0 or proxy_abi_version_0_2_1, malloc or proxy_on_memory_allocate, a memory"}},
		{"a later ABI", testModule{exports: append(minimalExports()[1:], function{name: "proxy_abi_version_0_3_0", typ: "->"})}.bytes(),
			[]string{"or proxy_abi_version_0_2_1 (the guest exports proxy_abi_version_0_3_0)"}},
		{"callbacks of the wrong type", testModule{exports: minimalExports(function{name: "proxy_on_tick", typ: "->"},
			function{name: "proxy_on_request_headers", typ: "ii->i"})}.bytes(),
			[]string{"guest exports functions of the wrong type: proxy_on_tick has type ->, want i->, proxy_on_request_headers has type ii->i, want iii->i"}},
		{"a missing import and missing exports", testModule{imports: []function{{module: "env", name: "nonsense", typ: "->"}}}.bytes(),
			[]string{"lacks required exports: ", "lacks: env.nonsense"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := host.Compile(context.Background(), tt.wasm, host.WithInterpreter())
			if err == nil {
				t.Fatalf("got no error, want %q", tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got the error\n%v\nwant it to contain %q", err, want)
				}
			}
		})
	}
}

func compile(t *testing.T, h testModule) *host.Module {
	t.Helper()
	m, err := host.Compile(t.Context(), h.bytes(), host.WithInterpreter())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(context.Background()) })
	return m
}

// Of several ABI versions the one that is exported first counts.
func TestFirstABIVersionCounts(t *testing.T) {
	t.Parallel()
	getLogLevel := []function{{module: "env", name: "proxy_get_log_level", typ: "i->i"}} // not in ABI 0.2.0
	const older, old, current = "proxy_abi_version_0_1_0", "proxy_abi_version_0_2_0", "proxy_abi_version_0_2_1"
	exports := func(versions ...string) []function {
		all := minimalExports()[1:]
		for _, v := range versions {
			all = append(all, function{name: v, typ: "->"})
		}
		return all
	}
	compile(t, testModule{imports: getLogLevel, exports: exports(current, old)})
	for _, first := range []string{old, older} {
		guest := testModule{imports: getLogLevel, exports: exports(first, current)}
		if m, err := host.Compile(t.Context(), guest.bytes(), host.WithInterpreter()); err == nil {
			m.Close(context.Background())
			t.Errorf("%s before %s, and the host offers proxy_get_log_level", first, current)
		}
	}
}

// A filter may export no callbacks at all. Streams pass through it.
func TestMissingCallbacksAreSkipped(t *testing.T) {
	t.Parallel()
	w, err := host.NewWorld(compile(t, testModule{exports: minimalExports()}), host.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := w.Worker(0).Open(host.Request("GET", "/"))
	for _, action := range []host.Action{
		s.RequestHeaders(false), s.RequestBody([]byte("a"), false), s.RequestTrailers(nil),
		s.ResponseHeaders(host.Response(200), false), s.ResponseBody([]byte("b"), false), s.ResponseTrailers(nil),
	} {
		wantAction(t, action, host.Continue)
	}
	if s.Ending() != host.Completed || string(s.ToUpstream().Body) != "a" || string(s.ToClient().Body) != "b" {
		t.Errorf("got the ending %v, to upstream %+v, to client %+v; want completed, body a, body b", s.Ending(), s.ToUpstream(), s.ToClient())
	}
	if w.Shutdown() != 0 || len(w.Logs()) > 0 {
		t.Errorf("want no pending plugins and no log lines, got\n%s", w.Logs())
	}
}

func TestStartFunctions(t *testing.T) {
	t.Parallel()
	setPeriod := func(period byte) []byte { // a call that traps in a start function
		return []byte{opI32Const, period, opCall, 0, opDrop}
	}
	imports := []function{{module: "env", name: "proxy_set_tick_period_milliseconds", typ: "i->i"}}
	trap := []byte{opUnreachable}
	abi, malloc := minimalExports()[0], minimalExports()[2]
	tests := []struct {
		name    string
		imports []function
		exports []function
		want    string // the reason in the StartError; empty: the filter starts
	}{
		{"_start is not called if there is _initialize", nil, minimalExports(function{name: "_start", typ: "->", body: trap}), ""},
		{"_start is called without _initialize", nil, []function{abi, malloc, {name: "_start", typ: "->", body: trap}}, "_start trapped"},
		{"neither of them is there", nil, []function{abi, malloc}, ""},
		{"main is not called without _initialize", nil, []function{abi, malloc, {name: "main", typ: "->", body: trap}}, ""},
		{"_start may have any type if there is _initialize", nil, minimalExports(function{name: "_start", typ: "i->i"}), ""},
		{"proxy_on_memory_allocate may have any type if there is malloc", nil, minimalExports(function{name: "proxy_on_memory_allocate", typ: "->"}), ""},
		{"main is called after _initialize", nil, minimalExports(function{name: "main", typ: "ii->i", body: trap}), "main trapped"},
		{"__main_void is called after _initialize", nil, minimalExports(function{name: "__main_void", typ: "->i", body: trap}), "__main_void trapped"},
		{"_initialize makes a forbidden hostcall", imports,
			[]function{abi, malloc, {name: "_initialize", typ: "->", body: setPeriod(1)}}, "_initialize trapped"},
		{"on_context_create makes the same hostcall", imports, minimalExports(function{name: "proxy_on_context_create", typ: "ii->", body: setPeriod(1)}), ""},
		{"on_context_create traps", nil, minimalExports(function{name: "proxy_on_context_create", typ: "ii->", body: trap}),
			"proxy_on_context_create trapped"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, err := host.NewWorld(compile(t, testModule{imports: tt.imports, exports: tt.exports}), host.Config{})
			var start *host.StartError
			switch {
			case err == nil && tt.want == "":
				w.Close()
			case !errors.As(err, &start) || start.Reason != tt.want:
				t.Errorf("got the error %v, want the reason %q", err, tt.want)
			}
		})
	}
}

// A guest whose allocator fails gets InvalidMemoryAccess. One whose allocator traps does not start.
func TestAllocator(t *testing.T) {
	t.Parallel()
	getVMConfig := []byte{ // on_vm_start returns the status of proxy_get_buffer_bytes
		opI32Const, 6, opI32Const, 0, opI32Const, 9, opI32Const, 16, opI32Const, 20, opCall, 0,
	}
	imports := []function{
		{module: "env", name: "proxy_get_buffer_bytes", typ: "iiiii->i"},
		{module: "env", name: "proxy_set_tick_period_milliseconds", typ: "i->i"},
	}
	tests := []struct {
		name string
		body []byte // of malloc
		want string // in the error; empty: it starts, because InvalidMemoryAccess (6) counts as true
	}{
		{"returns 0", []byte{opI32Const, 0}, ""},
		{"returns an address out of bounds", []byte{opI32Const, 0x70}, ""}, // -16
		{"works", []byte{opI32Const, 32}, "proxy_on_vm_start returned false"},
		{"makes a forbidden hostcall", []byte{opI32Const, 1, opCall, 1}, "restricted_callback"},
		{"traps", []byte{opUnreachable}, "malloc failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			exports := minimalExports(function{name: "proxy_on_vm_start", typ: "ii->i", body: getVMConfig})
			exports[2].body = tt.body
			w, err := host.NewWorld(compile(t, testModule{imports: imports, exports: exports}), host.Config{VMConfig: []byte("config")})
			switch {
			case err == nil && tt.want == "":
				w.Close()
			case err == nil || tt.want == "" || !strings.Contains(err.Error(), tt.want):
				t.Errorf("got the error %v, want %q in it", err, tt.want)
			}
		})
	}
}

// The first compilation fills the cache directory, and the second one uses it.
func TestCacheDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "here")
	for range 2 {
		m, err := host.Compile(t.Context(), testModule{exports: minimalExports()}.bytes(), host.WithCacheDir(dir))
		if err != nil {
			t.Fatal(err)
		}
		if w, err := host.NewWorld(m, host.Config{}); err != nil {
			t.Error(err)
		} else {
			w.Close()
		}
		if err := m.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	files := 0
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files++
		}
		return err
	})
	if files == 0 {
		t.Errorf("got no files in the cache directory %s, want at least 1", dir)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Compile(t.Context(), testModule{exports: minimalExports()}.bytes(), host.WithCacheDir(file)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a cache directory that is a file: got the error %v, want its name in it", err)
	}
}
