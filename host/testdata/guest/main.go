// Command guest is the filter that the host's tests run. It does what it is told:
// the plugin configuration and the request headers carry one script for each
// callback, and every hostcall a script makes is logged with its status, so that
// a test reads like a dialogue.
//
// It speaks the ABI itself, without the SDK, to see every status as it is.
//
// A script is a list of commands separated by semicolons: see commands in
// script.go. The plugin's scripts stand in the configuration, one a line:
//
//	configure: set k v 0; tick 100
//	stream: say hello
//
// where "stream" is on_context_create of its streams;
// and a stream's in request headers "on-request-headers", "on-log" and so on.
package main

import (
	"strconv"
	"strings"
	"unsafe"
)

func main() {}

// plugins are the scripts of each plugin, by the id of its context and callback.
var plugins = map[uint32]map[string]string{}

// pluginOf says which plugin a stream belongs to, also when it has gone.
var pluginOf = map[uint32]uint32{}

// streams are the scripts of each stream, by context id and callback.
var streams = map[uint32]map[string]string{}

var phases = []string{
	"request-headers", "request-body", "request-trailers",
	"response-headers", "response-body", "response-trailers", "log", "done", "delete",
}

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmexport proxy_on_memory_allocate
func onMemoryAllocate(size uint32) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(make([]byte, size)))
}

//go:wasmexport proxy_on_context_create
func onContextCreate(id, parent uint32) {
	if parent == 0 {
		plugins[id] = map[string]string{}
		return
	}
	streams[id] = map[string]string{}
	pluginOf[id] = parent
	execute(plugins[parent]["stream"], 0)
}

//go:wasmexport proxy_on_vm_start
func onVMStart(id, size uint32) uint32 {
	plugins[id]["vm-start"] = bufferText(6, size)
	return onPlugin("vm-start", id, 1)
}

//go:wasmexport proxy_on_configure
func onConfigure(id, size uint32) uint32 {
	for _, line := range strings.Split(bufferText(7, size), "\n") {
		if phase, script, ok := strings.Cut(line, ":"); ok {
			plugins[id][strings.TrimSpace(phase)] = script
		}
	}
	return onPlugin("configure", id, 1)
}

//go:wasmexport proxy_on_tick
func onTick(id uint32) { onPlugin("tick", id, 0) }

//go:wasmexport proxy_on_queue_ready
func onQueueReady(id, token uint32) {
	last = token
	onPlugin("queue-ready", id, 0)
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(id, count, end uint32) uint32 {
	for _, phase := range phases {
		if streams[id] == nil {
			break
		}
		if script, status := headerValue(0, "on-"+phase); status == 0 {
			streams[id][phase] = script
		}
	}
	return onStream("request-headers", id)
}

//go:wasmexport proxy_on_request_body
func onRequestBody(id, size, end uint32) uint32 { return onStream("request-body", id) }

//go:wasmexport proxy_on_request_trailers
func onRequestTrailers(id, count uint32) uint32 { return onStream("request-trailers", id) }

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(id, count, end uint32) uint32 { return onStream("response-headers", id) }

//go:wasmexport proxy_on_response_body
func onResponseBody(id, size, end uint32) uint32 { return onStream("response-body", id) }

//go:wasmexport proxy_on_response_trailers
func onResponseTrailers(id, count uint32) uint32 { return onStream("response-trailers", id) }

//go:wasmexport proxy_on_log
func onLog(id uint32) { onStream("log", id) }

//go:wasmexport proxy_on_done
func onDone(id uint32) uint32 {
	if plugins[id] != nil {
		return onPlugin("done", id, 1)
	}
	onStream("done", id)
	return 1
}

//go:wasmexport proxy_on_delete
func onDelete(id uint32) {
	if plugins[id] != nil {
		onPlugin("delete", id, 0)
		delete(plugins, id)
		return
	}
	onStream("delete", id)
	delete(streams, id)
}

func onPlugin(phase string, id, normal uint32) uint32 {
	say(strconv.Itoa(int(id)) + " " + phase)
	return execute(plugins[id][phase], normal)
}

// onStream runs a stream's script, or what the configuration has for contexts
// that are not, or no more: "unknown".
func onStream(phase string, id uint32) uint32 {
	say(strconv.Itoa(int(id)) + " " + phase)
	if streams[id] == nil {
		say("unknown context")
		return execute(plugins[pluginOf[id]]["unknown"], 0)
	}
	return execute(streams[id][phase], 0)
}
