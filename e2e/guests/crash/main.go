// Command crash is the filter with a bug that a client can reach: a request with the header x-crash panics in the
// guest, and takes the VM with it. What the filter promises of dead workers is tested with it.
package main

import (
	"github.com/streamlatch/streamlatch/filter/plugin"
	"github.com/streamlatch/streamlatch/filter/proxywasm"
)

func main() {}

func init() {
	filter := plugin.New("crash")
	proxywasm.Register(func(contextID uint32) proxywasm.Plugin { return crashing{filter(contextID)} })
}

type crashing struct{ proxywasm.Plugin }

func (c crashing) RequestHeaders(contextID uint32) (proxywasm.Stream, proxywasm.Action) {
	if _, there := proxywasm.RequestHeader("x-crash"); there {
		panic("x-crash")
	}
	return c.Plugin.RequestHeaders(contextID)
}
