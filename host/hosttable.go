package host

import (
	"context"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// hostFunc is one function that the guest can import.
type hostFunc struct {
	module, name string
	params       string // of a proxy-wasm hostcall, in the notation of type parameter; its result is a Status
	signature    string // of any other function, in the notation of the function signature
	parameters   []parameter

	// run carries out the call and returns a Status or a WASI errno. It copies what it reads from
	// guest memory, and it checks all pointers to arguments before it has any effect.
	run func(v *vm, a args) uint32

	// key returns Call.Key. Nil: it is the first parameter that is a string.
	key func(v *vm, a args) string

	// Whether the guest may make this call in its start functions, and in its allocator. Any other
	// call traps there.
	//
	// cpp-host: src/wasm.cc, startVm; include/proxy-wasm/wasm.h, allocMemory.
	whileStarting, whileAllocating bool
}

// args are the parameters of a hostcall as wazero passes them.
type args []uint64

func (a args) u32(i int) uint32 { return uint32(a[i]) }
func (a args) i64(i int) int64  { return int64(a[i]) }

// guestFunction is an export that the host may call, with the type that Envoy wants.
type guestFunction struct {
	name, signature string

	// Envoy does not look at this export if the guest has the export unless, or lacks the export
	// onlyIf. Empty: it always looks.
	unless, onlyIf string
}

// guestFunctions returns the exports that the host may call, with the types that Envoy wants.
//
// cpp-host: include/proxy-wasm/wasm.h; src/wasm.cc, getFunctions. Envoy: wasm.cc, getFunctions.
func guestFunctions(version abiVersion) []guestFunction {
	headers := "iii->i"
	if version == abi010 {
		headers = "ii->i" // without end_of_stream
	}
	functions := []guestFunction{
		{name: "_initialize", signature: "->"},
		{name: "main", signature: "ii->i", onlyIf: "_initialize"},
		{name: "__main_void", signature: "->i", onlyIf: "_initialize"},
		{name: "_start", signature: "->", unless: "_initialize"},
		{name: "malloc", signature: "i->i"},
		{name: "proxy_on_memory_allocate", signature: "i->i", unless: "malloc"},
		{name: "proxy_validate_configuration", signature: "ii->i"}, // Envoy looks it up, and never calls it
		{name: "proxy_on_context_create", signature: "ii->"},
		{name: "proxy_on_vm_start", signature: "ii->i"},
		{name: "proxy_on_configure", signature: "ii->i"},
		{name: "proxy_on_tick", signature: "i->"},
		{name: "proxy_on_queue_ready", signature: "ii->"},
		{name: "proxy_on_new_connection", signature: "i->i"},
		{name: "proxy_on_downstream_data", signature: "iii->i"},
		{name: "proxy_on_upstream_data", signature: "iii->i"},
		{name: "proxy_on_downstream_connection_close", signature: "ii->"},
		{name: "proxy_on_upstream_connection_close", signature: "ii->"},
		{name: "proxy_on_request_headers", signature: headers},
		{name: "proxy_on_request_body", signature: "iii->i"},
		{name: "proxy_on_request_trailers", signature: "ii->i"},
		{name: "proxy_on_request_metadata", signature: "ii->i"},
		{name: "proxy_on_response_headers", signature: headers},
		{name: "proxy_on_response_body", signature: "iii->i"},
		{name: "proxy_on_response_trailers", signature: "ii->i"},
		{name: "proxy_on_response_metadata", signature: "ii->i"},
		{name: "proxy_on_http_call_response", signature: "iiiii->"},
		{name: "proxy_on_grpc_receive_initial_metadata", signature: "iii->"},
		{name: "proxy_on_grpc_receive", signature: "iii->"},
		{name: "proxy_on_grpc_receive_trailing_metadata", signature: "iii->"},
		{name: "proxy_on_grpc_close", signature: "iii->"},
		{name: "proxy_on_log", signature: "i->"},
		{name: "proxy_on_done", signature: "i->i"},
		{name: "proxy_on_delete", signature: "i->"},
		{name: "envoy_on_resolve_dns", signature: "iii->"},
		{name: "envoy_on_stats_update", signature: "ii->"},
	}
	if version != abi010 {
		functions = append(functions, guestFunction{name: "proxy_on_foreign_function", signature: "iii->"})
	}
	return functions
}

// hostTable returns all functions that a guest of this ABI version can import.
//
// cpp-host: src/wasm.cc, registerCallbacks; include/proxy-wasm/exports.h.
func hostTable(version abiVersion) []hostFunc {
	var table []hostFunc
	for _, group := range [][]hostFunc{
		logFunctions(version), propertyFunctions(), configurationFunctions(version), streamFunctions(version), sharedDataFunctions(),
		queueFunctions(), headerFunctions(), bufferFunctions(), httpCallFunctions(), grpcFunctions(), timerFunctions(),
		metricFunctions(), contextFunctions(), foreignFunctions(), runtimeFunctions(),
	} {
		for _, f := range group {
			f.module = "env"
			if f.signature == "" {
				var types string
				f.parameters, types = parseParameters(f.params)
				f.signature = types + "->i"
			}
			table = append(table, f)
		}
	}
	for _, module := range []string{"wasi_unstable", "wasi_snapshot_preview1"} {
		for _, f := range wasiFunctions() {
			f.module = module
			table = append(table, f)
		}
	}
	return table
}

// instantiateHost makes the functions of the table available for import, once for all worlds of a
// runtime.
func instantiateHost(ctx context.Context, runtime wazero.Runtime, table []hostFunc) error {
	builders := make(map[string]wazero.HostModuleBuilder)
	for i := range table {
		f := &table[i]
		b := builders[f.module]
		if b == nil {
			b = runtime.NewHostModuleBuilder(f.module)
			builders[f.module] = b
		}
		params, results, _ := strings.Cut(f.signature, "->")
		b.NewFunctionBuilder().
			WithGoModuleFunction(f.dispatcher(), valueTypes(params), valueTypes(results)).
			Export(f.name)
	}
	for module, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("instantiate host module %q: %w", module, err)
		}
	}
	return nil
}

// vmKey is the key under which the context of every call into a guest carries the vm.
type vmKey struct{}

// dispatcher wraps run with what all hostcalls have in common: the restrictions while starting and
// allocating, the interceptor, and the handling of panics.
func (f *hostFunc) dispatcher() api.GoModuleFunc {
	return func(ctx context.Context, _ api.Module, stack []uint64) {
		v := ctx.Value(vmKey{}).(*vm)
		defer v.recordHostPanic()
		if v.starting && !f.whileStarting || v.allocating && !f.whileAllocating {
			panic(guestTrap("restricted_callback: " + f.name))
		}
		result := v.runIntercepted(f, stack)
		if v.pendingTrap != "" {
			panic(guestTrap(v.pendingTrap))
		}
		if !strings.HasSuffix(f.signature, ">") {
			stack[0] = uint64(result)
		}
	}
}
