// Command header is a filter written with the SDK that reads one header of each request, and does
// nothing else: the least that a filter can be which acts on some requests only.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetHttpContext(func(uint32) types.HttpContext { return &context{} })
}

type context struct{ types.DefaultHttpContext }

// OnHttpRequestHeaders implements [types.HttpContext].
func (*context) OnHttpRequestHeaders(int, bool) types.Action {
	if path, err := proxywasm.GetHttpRequestHeader(":path"); err != nil || path == "" {
		return types.ActionPause
	}
	return types.ActionContinue
}
