// Command filter is Streamlatch: a proxy-wasm filter for Envoy that keeps one live event stream per
// client. `make build` makes a WebAssembly module of it.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"github.com/streamlatch/streamlatch/filter/plugin"
)

// version is set by the linker.
var version = "dev"

// main is not called: the host calls init, and then the callbacks.
func main() {}

func init() {
	vm = plugin.New(version)
	proxywasm.SetVMContext(vm)
}

// vm has the callbacks that the SDK does not have.
var vm *plugin.VM

//lint:ignore U1000 the host calls it
//go:wasmexport proxy_on_grpc_receive
func onGRPCReceive(plugin, call, size uint32) { vm.GRPCReceive(plugin, call, size) }

//lint:ignore U1000 the host calls it
//go:wasmexport proxy_on_grpc_close
func onGRPCClose(plugin, call, status uint32) { vm.GRPCClose(plugin, call, status) }

// abiVersion says which version of the ABI the module is made for. The SDK says 0.2.0, in which
// Envoy does not offer the log level. Of several versions Envoy takes the one that is exported
// first (proxy-wasm-cpp-host, src/bytecode_util.cc, getAbiVersion), and Go's linker begins with
// package main.
//
//lint:ignore U1000 the host looks for it
//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}
