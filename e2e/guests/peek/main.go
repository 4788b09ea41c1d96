// Command peek reads the registry of the filter, for the load program: Envoy itself does not tell
// what its shared data holds. A request for /<kind>?<first>-<end> is answered with two numbers: how
// many of the keys streamlatch/3/<kind>/<n> are there, from first to end, and how many bytes they
// and their values have.
package main

import (
	"errors"
	"fmt"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetHttpContext(func(uint32) types.HttpContext { return &request{} })
}

type request struct{ types.DefaultHttpContext }

func (*request) OnHttpRequestHeaders(int, bool) types.Action {
	status, answer := uint32(200), ""
	keys, bytes, err := peek()
	if answer = fmt.Sprint(keys, bytes); err != nil {
		status, answer = 500, err.Error()
	}
	if err := proxywasm.SendHttpResponse(status, nil, []byte(answer), -1); err != nil {
		proxywasm.LogErrorf("send the answer: %v", err)
	}
	return types.ActionPause
}

func peek() (keys, bytes int, err error) {
	path, err := proxywasm.GetHttpRequestHeader(":path")
	if err != nil {
		return 0, 0, err
	}
	var kind string
	var first, end int
	if _, err := fmt.Sscanf(path, "/%1s?%d-%d", &kind, &first, &end); err != nil {
		return 0, 0, err
	}
	for n := first; n < end; n++ {
		key := fmt.Sprintf("streamlatch/3/%s/%d", kind, n)
		value, _, err := proxywasm.GetSharedData(key)
		if errors.Is(err, types.ErrorStatusNotFound) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		keys++
		bytes += len(key) + len(value)
	}
	return keys, bytes, nil
}
