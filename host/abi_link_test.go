package host_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// hostcalls are the functions of module env in every ABI version: cpp-host,
// include/proxy-wasm/exports.h.
var hostcalls = []function{
	{name: "proxy_log", typ: "iii->i"}, {name: "proxy_get_status", typ: "iii->i"},
	{name: "proxy_set_property", typ: "iiii->i"}, {name: "proxy_get_property", typ: "iiii->i"},
	{name: "proxy_send_local_response", typ: "iiiiiiii->i"},
	{name: "proxy_get_shared_data", typ: "iiiii->i"}, {name: "proxy_set_shared_data", typ: "iiiii->i"},
	{name: "proxy_register_shared_queue", typ: "iii->i"}, {name: "proxy_resolve_shared_queue", typ: "iiiii->i"},
	{name: "proxy_dequeue_shared_queue", typ: "iii->i"}, {name: "proxy_enqueue_shared_queue", typ: "iii->i"},
	{name: "proxy_get_header_map_value", typ: "iiiii->i"}, {name: "proxy_add_header_map_value", typ: "iiiii->i"},
	{name: "proxy_replace_header_map_value", typ: "iiiii->i"}, {name: "proxy_remove_header_map_value", typ: "iii->i"},
	{name: "proxy_get_header_map_pairs", typ: "iii->i"}, {name: "proxy_set_header_map_pairs", typ: "iii->i"},
	{name: "proxy_get_header_map_size", typ: "ii->i"},
	{name: "proxy_get_buffer_status", typ: "iii->i"}, {name: "proxy_get_buffer_bytes", typ: "iiiii->i"},
	{name: "proxy_set_buffer_bytes", typ: "iiiii->i"},
	{name: "proxy_http_call", typ: "iiiiiiiiii->i"}, {name: "proxy_grpc_call", typ: "iiiiiiiiiiii->i"},
	{name: "proxy_grpc_stream", typ: "iiiiiiiii->i"}, {name: "proxy_grpc_close", typ: "i->i"},
	{name: "proxy_grpc_cancel", typ: "i->i"}, {name: "proxy_grpc_send", typ: "iiii->i"},
	{name: "proxy_set_tick_period_milliseconds", typ: "i->i"}, {name: "proxy_get_current_time_nanoseconds", typ: "i->i"},
	{name: "proxy_define_metric", typ: "iiii->i"}, {name: "proxy_increment_metric", typ: "iI->i"},
	{name: "proxy_record_metric", typ: "iI->i"}, {name: "proxy_get_metric", typ: "ii->i"},
	{name: "proxy_set_effective_context", typ: "i->i"}, {name: "proxy_done", typ: "->i"},
	{name: "proxy_call_foreign_function", typ: "iiiiii->i"},
	{name: "pthread_equal", typ: "ii->i"}, {name: "emscripten_notify_memory_growth", typ: "i->"},
	{name: "envoy_resolve_dns", typ: "iii->i"},
}

// ownHostcalls are the functions that only some versions have: cpp-host, src/wasm.cc,
// registerCallbacks.
var ownHostcalls = map[string][]function{
	"proxy_abi_version_0_1_0": {{name: "proxy_get_configuration", typ: "ii->i"}, {name: "proxy_continue_request", typ: "->i"},
		{name: "proxy_continue_response", typ: "->i"}, {name: "proxy_clear_route_cache", typ: "->i"}},
	"proxy_abi_version_0_2_0": {{name: "proxy_continue_stream", typ: "i->i"}, {name: "proxy_close_stream", typ: "i->i"}},
	"proxy_abi_version_0_2_1": {{name: "proxy_continue_stream", typ: "i->i"}, {name: "proxy_close_stream", typ: "i->i"},
		{name: "proxy_get_log_level", typ: "i->i"}},
}

// importing returns a guest of this version that imports the functions, and calls each of them in
// on_vm_start with nothing but zeros.
func importing(version string, functions []function) testModule {
	m := testModule{exports: append(minimalExports()[1:], function{name: version, typ: "->"})}
	var calls []byte
	for i, f := range functions {
		m.imports = append(m.imports, function{module: "env", name: f.name, typ: f.typ})
		params, results, _ := strings.Cut(f.typ, "->")
		for _, p := range params {
			calls = append(calls, map[rune]byte{'i': opI32Const, 'I': opI64Const}[p], 0)
		}
		calls = append(calls, opCall, byte(i))
		if results != "" {
			calls = append(calls, opDrop)
		}
	}
	m.exports = append(m.exports, function{name: "proxy_on_vm_start", typ: "ii->i", body: append(calls, opI32Const, 1)})
	return m
}

// A guest of any ABI version may import every hostcall of its version. Each call returns a status,
// even with arguments that make no sense.
func TestEveryHostcallLinks(t *testing.T) {
	t.Parallel()
	// Calls with zeros that are not Ok. The addresses 0 and the lengths 0 are within the memory.
	notOk := map[string]host.Status{
		"proxy_set_property": host.StatusNotFound, "proxy_get_property": host.StatusSerializationFailure,
		"proxy_get_shared_data":      host.StatusNotFound,
		"proxy_dequeue_shared_queue": host.StatusNotFound, "proxy_enqueue_shared_queue": host.StatusNotFound,
		"proxy_get_header_map_value": host.StatusBadArgument, "proxy_add_header_map_value": host.StatusBadArgument,
		"proxy_replace_header_map_value": host.StatusBadArgument, "proxy_remove_header_map_value": host.StatusBadArgument,
		"proxy_set_header_map_pairs": host.StatusBadArgument, "proxy_get_header_map_size": host.StatusBadArgument,
		"proxy_set_buffer_bytes": host.StatusBadArgument, "proxy_http_call": host.StatusBadArgument,
		"proxy_grpc_close": host.StatusBadArgument, "proxy_grpc_cancel": host.StatusBadArgument, "proxy_grpc_send": host.StatusBadArgument,
		"proxy_increment_metric": host.StatusNotFound, "proxy_record_metric": host.StatusNotFound, "proxy_get_metric": host.StatusNotFound,
		"proxy_done": host.StatusNotFound, "proxy_call_foreign_function": host.StatusNotFound,
	}
	for version, own := range ownHostcalls {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			functions := slices.Concat(hostcalls, own)
			got := make(map[string]host.Status)
			w, err := host.NewWorld(compile(t, importing(version, functions)),
				host.Config{Intercept: func(c *host.Call) {
					if c.Name == "proxy_grpc_call" || c.Name == "proxy_grpc_stream" { // with zeros they crash Envoy
						c.Answer(host.StatusOk)
						got[c.Name] = host.StatusOk
					} else if _, again := got[c.Name]; !again { // the canary: later VMs see what it did
						got[c.Name] = c.Proceed()
					}
				}})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			for _, f := range functions {
				status, called := got[f.name]
				if strings.HasPrefix(f.name, "proxy_") && (!called || status != notOk[f.name]) {
					t.Errorf("%s: called %v, got %v, want %v", f.name, called, status, notOk[f.name])
				}
			}
		})
	}
}

// What one version has is not there for guests of another.
func TestHostcallsOfOtherVersions(t *testing.T) {
	t.Parallel()
	for version := range ownHostcalls {
		for other, functions := range ownHostcalls {
			for _, f := range functions {
				own := slices.ContainsFunc(ownHostcalls[version], func(o function) bool { return o.name == f.name })
				m, err := host.Compile(t.Context(), importing(version, []function{f}).bytes(), host.WithInterpreter())
				switch {
				case err == nil:
					m.Close(context.Background())
					if !own {
						t.Errorf("%s links in a guest of %s, and is only in %s", f.name, version, other)
					}
				case own || !strings.Contains(err.Error(), "lacks: env."+f.name):
					t.Errorf("%s in a guest of %s: got the error %v", f.name, version, err)
				}
			}
		}
	}
}
