// Command crash is the filter with a bug that a client can reach: a request with the header x-crash panics in the
// guest, and takes the VM with it. What the filter promises of dead workers is tested with it.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/streamlatch/streamlatch/filter/plugin"
)

func main() {}

func init() { proxywasm.SetVMContext(vm{plugin.New("crash")}) }

type vm struct{ types.VMContext }

func (v vm) NewPluginContext(contextID uint32) types.PluginContext {
	return pluginContext{v.VMContext.NewPluginContext(contextID)}
}

type pluginContext struct{ types.PluginContext }

func (p pluginContext) NewHttpContext(contextID uint32) types.HttpContext {
	return stream{p.PluginContext.NewHttpContext(contextID)}
}

type stream struct{ types.HttpContext }

func (s stream) OnHttpRequestHeaders(numHeaders int, endOfStream bool) types.Action {
	if _, err := proxywasm.GetHttpRequestHeader("x-crash"); err == nil {
		panic("x-crash")
	}
	return s.HttpContext.OnHttpRequestHeaders(numHeaders, endOfStream)
}
