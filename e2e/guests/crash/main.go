// Command crash is the filter with a bug that a client can reach: a request with the header x-crash
// panics in the guest, and takes the VM with it. What the filter promises about dead workers is
// tested with it.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/streamlatch/streamlatch/filter/plugin"
)

func main() {}

func init() { proxywasm.SetVMContext(vm{plugin.New("crash")}) }

type vm struct{ types.VMContext }

func (v vm) NewPluginContext(id uint32) types.PluginContext {
	return worker{v.VMContext.NewPluginContext(id)}
}

type worker struct{ types.PluginContext }

func (w worker) NewHttpContext(id uint32) types.HttpContext {
	return stream{w.PluginContext.NewHttpContext(id)}
}

type stream struct{ types.HttpContext }

func (s stream) OnHttpRequestHeaders(headers int, endOfStream bool) types.Action {
	if _, err := proxywasm.GetHttpRequestHeader("x-crash"); err == nil {
		panic("x-crash")
	}
	return s.HttpContext.OnHttpRequestHeaders(headers, endOfStream)
}

// abiVersion says which version of the ABI the module is made for. The SDK says 0.2.0, in which
// Envoy does not offer the log level. Of several versions Envoy takes the one that is exported
// first (proxy-wasm-cpp-host, src/bytecode_util.cc, getAbiVersion), and Go's linker begins with
// package main.
//
//lint:ignore U1000 the host looks for it
//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}
