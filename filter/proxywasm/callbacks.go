// Package proxywasm is as much of the proxy-wasm ABI, version 0.2.1, as the filter uses: what Envoy calls, and what can
// be called in Envoy.
//
// It is not the SDK for two reasons. A request that is of no interest costs the filter what its callbacks cost, so
// nothing is kept of it here and no callback is exported that has nothing to do. And the SDK imports fmt and time,
// which are a fifth of the module. Nothing here panics: in Envoy that would cut every stream of the worker.
//
// A VM is single-threaded, and the host calls one of it at a time, so the package keeps its plugins in variables.
//
// The ABI: https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1
package proxywasm

import "unsafe"

//lint:file-ignore U1000 staticcheck 0.8.2 does not see that the host calls what is exported with go:wasmexport

// Action says whether Envoy goes on with a request or response.
type Action uint32

const (
	Continue Action = 0
	Pause    Action = 1
)

// Plugin is one configuration in this VM, with a context of its own that timers and queues belong to.
type Plugin interface {
	// Start reads the configuration and reports whether it can be used.
	Start() bool
	// QueueReady says that a message is in a queue that the plugin has registered.
	QueueReady(queue uint32)
	// Tick is the plugin's timer.
	Tick()
	// RequestHeaders is called for every request. For one that is of interest it returns a Stream, which then sees
	// what comes; of another nothing is kept, and nil returned.
	RequestHeaders(contextID uint32) (Stream, Action)
}

// Stream is a request of interest and its response.
type Stream interface {
	ResponseHeaders(endOfStream bool) Action
	// ResponseBody sees size bytes of the body pass. It cannot hold them back.
	ResponseBody(size int, endOfStream bool)
	// Done is the end of the stream, for whatever reason.
	Done()
}

var vm struct {
	newPlugin func(contextID uint32) Plugin
	plugins   map[uint32]Plugin
	latest    Plugin            // the last that was made
	parents   map[uint32]Plugin // of contexts of requests; only while there is more than one plugin
	streams   map[uint32]Stream
}

// Register makes newPlugin the source of plugins. It is called once, in an init function.
func Register(newPlugin func(contextID uint32) Plugin) {
	vm.newPlugin = newPlugin
	vm.plugins, vm.parents, vm.streams = map[uint32]Plugin{}, map[uint32]Plugin{}, map[uint32]Stream{}
}

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

// onMemoryAllocate gives the host memory for a result. It is garbage unless a variable of the caller holds it; the host
// writes that before any code of the guest runs again.
//
//go:wasmexport proxy_on_memory_allocate
func onMemoryAllocate(size uint32) *byte { return unsafe.SliceData(make([]byte, size)) }

//go:wasmexport proxy_on_vm_start
func onVMStart(uint32, int32) bool { return true }

//go:wasmexport proxy_on_context_create
func onContextCreate(contextID, parentID uint32) {
	switch {
	case parentID == 0:
		vm.latest = vm.newPlugin(contextID)
		vm.plugins[contextID] = vm.latest
	case len(vm.plugins) > 1: // a configuration that drains, or two listeners
		vm.parents[contextID] = vm.plugins[parentID]
	}
}

//go:wasmexport proxy_on_configure
func onConfigure(contextID uint32, _ int32) bool {
	p := vm.plugins[contextID]
	return p != nil && p.Start()
}

//go:wasmexport proxy_on_queue_ready
func onQueueReady(contextID, queue uint32) {
	if p := vm.plugins[contextID]; p != nil {
		p.QueueReady(queue)
	}
}

//go:wasmexport proxy_on_tick
func onTick(contextID uint32) {
	if p := vm.plugins[contextID]; p != nil {
		p.Tick()
	}
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(contextID uint32, _ int32, _ bool) Action {
	p, several := vm.latest, false
	if len(vm.parents) > 0 {
		if p, several = vm.parents[contextID]; several {
			delete(vm.parents, contextID)
		} else {
			p = vm.latest
		}
	}
	if p == nil {
		return Continue
	}
	s, action := p.RequestHeaders(contextID)
	if s != nil {
		vm.streams[contextID] = s
	}
	return action
}

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(contextID uint32, _ int32, endOfStream bool) Action {
	if s := vm.streams[contextID]; s != nil {
		return s.ResponseHeaders(endOfStream)
	}
	return Continue
}

//go:wasmexport proxy_on_response_body
func onResponseBody(contextID uint32, size int32, endOfStream bool) Action {
	if s := vm.streams[contextID]; s != nil {
		s.ResponseBody(int(size), endOfStream)
	}
	return Continue
}

// onDelete is the end of a stream, or of a plugin whose listener has drained. Of the three callbacks at an end, on_log,
// on_done and on_delete, it is the only one that Envoy makes last over every protocol: over HTTP/3 it logs after it.
//
//go:wasmexport proxy_on_delete
func onDelete(contextID uint32) {
	if s := vm.streams[contextID]; s != nil {
		delete(vm.streams, contextID)
		s.Done()
		return
	}
	if p := vm.plugins[contextID]; p != nil {
		delete(vm.plugins, contextID)
		if p == vm.latest {
			vm.latest = nil
			for _, other := range vm.plugins {
				vm.latest = other
			}
		}
	}
	delete(vm.parents, contextID)
}
