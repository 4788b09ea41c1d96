// Command guest is the filter of the host's own tests. It does what the test tells it: the plugin
// configuration and the request headers hold a script for each callback. The guest logs each
// hostcall of a script with its status, so the log reads like a dialogue between guest and host.
//
// It imports the hostcalls itself instead of using the SDK, which hides some of the statusNames.
//
// A script is a list of commands, separated by semicolons: see commands in script.go. The scripts
// of the plugin are lines of the plugin configuration:
//
//	configure: set k v 0; tick 100
//	stream: say hello
//
// With the build tag abi010 it is a filter of ABI 0.1.0. With proxytest it imports only what the
// SDK's proxytest has.
//
// The callback "stream" is on_context_create of a stream, and "unknown" is any callback of a stream
// that has no context. The scripts of a TCP connection are "connection-new-connection",
// "connection-downstream-data", "connection-log" and so on. The scripts of a stream are request headers: "on-request-headers", "on-log"
// and so on. The request headers "on-plugin-tick" and so on replace scripts of the plugin.
package main

import (
	"strconv"
	"strings"
	"unsafe"
)

func main() {}

// plugins holds the scripts of each plugin, by context id and callback.
var plugins = map[uint32]map[string]string{}

// pluginOf maps each stream to its plugin. Entries stay after on_delete, for callbacks that come
// later.
var pluginOf = map[uint32]uint32{}

// streams holds the scripts of each stream, by context id and callback.
var streams = map[uint32]map[string]string{}

var callbacks = []string{
	"request-headers", "request-body", "request-trailers", "request-metadata",
	"response-headers", "response-body", "response-trailers", "response-metadata", "log", "done", "delete",
}

// connectionCallbacks are the callbacks of a TCP connection.
var connectionCallbacks = []string{"new-connection", "downstream-data", "upstream-data", "downstream-close", "upstream-close", "log", "done", "delete"}

// pluginCallbacks are the callbacks whose script a request may replace.
var pluginCallbacks = []string{"tick", "queue-ready", "http-call-response", "grpc-initial", "grpc-receive", "grpc-trailing", "grpc-close"}

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
	lastNumber = token
	onPlugin("queue-ready", id, 0)
}

// requestHeaders reads the scripts of a stream, and runs the first.
func requestHeaders(id uint32) uint32 {
	for _, phase := range callbacks {
		if streams[id] == nil {
			break
		}
		if script, status := headerValue(0, "on-"+phase); status == 0 {
			streams[id][phase] = script
		}
	}
	for _, phase := range pluginCallbacks {
		if script, status := headerValue(0, "on-plugin-"+phase); status == 0 {
			plugins[pluginOf[id]][phase] = script
		}
	}
	return onStream("request-headers", id)
}

//go:wasmexport proxy_on_new_connection
func onNewConnection(id uint32) uint32 {
	for _, phase := range connectionCallbacks {
		if script := plugins[pluginOf[id]]["connection-"+phase]; streams[id] != nil {
			streams[id][phase] = script
		}
	}
	return onStream("new-connection", id)
}

//go:wasmexport proxy_on_downstream_data
func onDownstreamData(id, size, end uint32) uint32 { return onData("downstream-data", id, size, end) }

//go:wasmexport proxy_on_upstream_data
func onUpstreamData(id, size, end uint32) uint32 { return onData("upstream-data", id, size, end) }

//go:wasmexport proxy_on_downstream_connection_close
func onDownstreamConnectionClose(id, how uint32) { onClose("downstream-close", id, how) }

//go:wasmexport proxy_on_upstream_connection_close
func onUpstreamConnectionClose(id, how uint32) { onClose("upstream-close", id, how) }

//go:wasmexport proxy_on_request_body
func onRequestBody(id, size, end uint32) uint32 { return onStream("request-body", id) }

//go:wasmexport proxy_on_request_trailers
func onRequestTrailers(id, count uint32) uint32 { return onStream("request-trailers", id) }

//go:wasmexport proxy_on_response_body
func onResponseBody(id, size, end uint32) uint32 { return onStream("response-body", id) }

//go:wasmexport proxy_on_response_trailers
func onResponseTrailers(id, count uint32) uint32 { return onStream("response-trailers", id) }

//go:wasmexport proxy_on_request_metadata
func onRequestMetadata(id, count uint32) uint32 { return onStream("request-metadata", id) }

//go:wasmexport proxy_on_response_metadata
func onResponseMetadata(id, count uint32) uint32 { return onStream("response-metadata", id) }

//go:wasmexport proxy_on_http_call_response
func onHTTPCallResponse(id, token, headers, size, trailers uint32) {
	onCallout("http-call-response", id, token, headers, size, trailers)
}

//go:wasmexport proxy_on_grpc_receive_initial_metadata
func onGRPCReceiveInitialMetadata(id, token, count uint32) {
	onCallout("grpc-initial", id, token, count)
}

//go:wasmexport proxy_on_grpc_receive
func onGRPCReceive(id, token, size uint32) { onCallout("grpc-receive", id, token, size) }

//go:wasmexport proxy_on_grpc_receive_trailing_metadata
func onGRPCReceiveTrailingMetadata(id, token, count uint32) {
	onCallout("grpc-trailing", id, token, count)
}

//go:wasmexport proxy_on_grpc_close
func onGRPCClose(id, token, status uint32) { onCallout("grpc-close", id, token, status) }

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
	logInfo(strconv.Itoa(int(id)) + " " + phase)
	return execute(plugins[id][phase], normal)
}

// onCallout runs a script of the plugin, after it has logged the numbers that the callback got.
func onCallout(phase string, id, token uint32, numbers ...uint32) {
	logInfo(strconv.Itoa(int(id)) + " " + phase)
	line := "token " + strconv.Itoa(int(token)) + ":"
	for _, n := range numbers {
		line += " " + strconv.Itoa(int(n))
	}
	logInfo(line)
	lastNumber = token
	execute(plugins[id][phase], 0)
}

// onData runs a script of a connection, after it has logged how many data there are.
func onData(phase string, id, size, end uint32) uint32 {
	logInfo("data: " + strconv.Itoa(int(size)) + " " + strconv.Itoa(int(end)))
	return onStream(phase, id)
}

// onClose runs a script of a connection, after it has logged how it was closed.
func onClose(phase string, id, how uint32) {
	logInfo("closed: " + strconv.Itoa(int(how)))
	onStream(phase, id)
}

// onStream runs the script of a stream. For a stream that has no context, or no longer, it runs the
// plugin's script "unknown".
func onStream(phase string, id uint32) uint32 {
	logInfo(strconv.Itoa(int(id)) + " " + phase)
	if streams[id] == nil {
		logInfo("unknown context")
		return execute(plugins[pluginOf[id]]["unknown"], 0)
	}
	return execute(streams[id][phase], 0)
}
