// Command hits counts requests, over all workers, in shared data. Its configuration says how: "get
// then set" or "compare and swap".
package main

import (
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} }) }

type plugin struct {
	types.DefaultPluginContext
	count func() error
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	config, err := proxywasm.GetPluginConfiguration()
	switch string(config) {
	case "get then set":
		p.count = getThenSet
	case "compare and swap":
		p.count = compareAndSwap
	default:
		proxywasm.LogErrorf("configuration %q, %v", config, err)
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &hit{count: p.count} }

type hit struct {
	types.DefaultHttpContext
	count func() error
}

func (h *hit) OnHttpRequestHeaders(int, bool) types.Action {
	if err := h.count(); err != nil {
		proxywasm.LogWarnf("lost a hit: %v", err)
	}
	return types.ActionContinue
}

// getThenSet loses a hit if another worker sets between its get and its set: cas 0 overwrites.
func getThenSet() error {
	n, _, err := hits()
	if err != nil && err != types.ErrorStatusNotFound {
		return err
	}
	return set(n+1, 0)
}

// compareAndSwap tries again if another worker was faster.
func compareAndSwap() error {
	for range 10 {
		n, cas, err := hits()
		if err == types.ErrorStatusNotFound {
			cas = 0xFFFFFFFF // create it, or fail if another worker does so first
		} else if err != nil {
			return err
		}
		if err := set(n+1, cas); err != types.ErrorStatusCasMismatch {
			return err
		}
	}
	return types.ErrorStatusCasMismatch
}

func hits() (n int, cas uint32, err error) {
	value, cas, err := proxywasm.GetSharedData("hits")
	if err == nil {
		n, err = strconv.Atoi(string(value))
	}
	return n, cas, err
}

func set(n int, cas uint32) error {
	return proxywasm.SetSharedData("hits", []byte(strconv.Itoa(n)), cas)
}
