// Command hits counts requests over all workers, tells the upstream the number, and lets nobody see
// /forbidden. It asks a cluster who a caller with a token is, counts its ticks, and logs its root
// id and the property request.who if they are there.
package main

import (
	"bytes"
	"strconv"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} }) }

type plugin struct {
	types.DefaultPluginContext
	ticks proxywasm.MetricCounter
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	if id, err := proxywasm.GetProperty([]string{"plugin_root_id"}); err == nil && len(id) > 0 {
		proxywasm.LogInfo("I am " + string(id))
	}
	p.ticks = proxywasm.DefineCounterMetric("ticks")
	if err := proxywasm.SetTickPeriodMilliSeconds(uint32(time.Second.Milliseconds())); err != nil {
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnTick()                                 { p.ticks.Increment(1) }
func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &hit{} }

type hit struct{ types.DefaultHttpContext }

// OnHttpResponseBody cuts a response that says so: Envoy resets a stream whose response has begun if
// the filter replies to it.
func (*hit) OnHttpResponseBody(size int, _ bool) types.Action {
	if body, err := proxywasm.GetHttpResponseBody(0, size); err == nil && bytes.Contains(body, []byte("cut me")) {
		_ = proxywasm.SendHttpResponse(503, nil, nil, -1)
	}
	return types.ActionContinue
}

func (*hit) OnHttpRequestHeaders(int, bool) types.Action {
	for _, path := range [][]string{{"request", "who"}, {"request.who"}} {
		if who, err := proxywasm.GetProperty(path); err == nil {
			proxywasm.LogInfof("%q is %s", path, who)
		}
	}
	if path, _ := proxywasm.GetHttpRequestHeader(":path"); path == "/forbidden" {
		if err := proxywasm.SendHttpResponse(403, [][2]string{{"x-reason", "forbidden"}}, []byte("no\n"), -1); err != nil {
			proxywasm.LogError(err.Error())
		}
		return types.ActionPause
	}
	for {
		value, cas, err := proxywasm.GetSharedData("hits")
		if err != nil {
			cas = 1 << 31 // creates the key, if nobody has
		}
		n, _ := strconv.Atoi(string(value))
		next := strconv.Itoa(n + 1)
		if proxywasm.SetSharedData("hits", []byte(next), cas) == nil {
			proxywasm.LogInfo("hit " + next)
			proxywasm.AddHttpRequestHeader("x-hits", next)
			break
		}
	}
	token, err := proxywasm.GetHttpRequestHeader("authorization")
	if err != nil {
		return types.ActionContinue
	}
	_, err = proxywasm.DispatchHttpCall("auth", [][2]string{{":method", "GET"}, {":path", "/" + token}, {":authority", "auth"}}, nil, nil, 1000,
		func(int, int, int) {
			if user, err := proxywasm.GetHttpCallResponseBody(0, 100); err == nil {
				proxywasm.AddHttpRequestHeader("x-user", string(user))
			}
			proxywasm.ResumeHttpRequest()
		})
	if err != nil {
		return types.ActionContinue
	}
	return types.ActionPause
}
