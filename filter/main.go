// Command filter is Streamlatch: a proxy-wasm filter for Envoy that keeps one live event stream per client. It is
// built as a WebAssembly module by `make build`.
package main

import (
	"github.com/streamlatch/streamlatch/filter/plugin"
	"github.com/streamlatch/streamlatch/filter/proxywasm"
)

// version is set by the linker.
var version = "dev"

// main is not called in a WebAssembly reactor: the host calls init and then the callbacks.
func main() {}

func init() { proxywasm.Register(plugin.New(version)) }
