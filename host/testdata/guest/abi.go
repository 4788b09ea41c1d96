package main

import (
	"runtime"
	"unsafe"
)

//go:wasmimport env proxy_log
func proxyLog(level, message, size uint32) uint32

//go:wasmimport env proxy_get_shared_data
func proxyGetSharedData(key, keySize, valueAt, sizeAt, casAt uint32) uint32

//go:wasmimport env proxy_set_shared_data
func proxySetSharedData(key, keySize, value, valueSize, cas uint32) uint32

//go:wasmimport env proxy_register_shared_queue
func proxyRegisterSharedQueue(name, nameSize, tokenAt uint32) uint32

//go:wasmimport env proxy_resolve_shared_queue
func proxyResolveSharedQueue(vmID, vmIDSize, name, nameSize, tokenAt uint32) uint32

//go:wasmimport env proxy_enqueue_shared_queue
func proxyEnqueueSharedQueue(token, item, itemSize uint32) uint32

//go:wasmimport env proxy_dequeue_shared_queue
func proxyDequeueSharedQueue(token, itemAt, sizeAt uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func proxyGetHeaderMapValue(kind, key, keySize, valueAt, sizeAt uint32) uint32

//go:wasmimport env proxy_add_header_map_value
func proxyAddHeaderMapValue(kind, key, keySize, value, valueSize uint32) uint32

//go:wasmimport env proxy_replace_header_map_value
func proxyReplaceHeaderMapValue(kind, key, keySize, value, valueSize uint32) uint32

//go:wasmimport env proxy_remove_header_map_value
func proxyRemoveHeaderMapValue(kind, key, keySize uint32) uint32

//go:wasmimport env proxy_get_header_map_pairs
func proxyGetHeaderMapPairs(kind, pairsAt, sizeAt uint32) uint32

//go:wasmimport env proxy_set_header_map_pairs
func proxySetHeaderMapPairs(kind, pairs, size uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBufferBytes(kind, start, length, dataAt, sizeAt uint32) uint32

//go:wasmimport env proxy_set_buffer_bytes
func proxySetBufferBytes(kind, start, length, data, size uint32) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func proxySetTickPeriodMilliseconds(period uint32) uint32

//go:wasmimport env proxy_set_effective_context
func proxySetEffectiveContext(id uint32) uint32

//go:wasmimport env proxy_done
func proxyDone() uint32

//go:wasmimport env proxy_define_metric
func proxyDefineMetric(kind, name, nameSize, idAt uint32) uint32

//go:wasmimport env proxy_increment_metric
func proxyIncrementMetric(id uint32, offset int64) uint32

//go:wasmimport env proxy_record_metric
func proxyRecordMetric(id uint32, value uint64) uint32

//go:wasmimport env proxy_get_metric
func proxyGetMetric(id, valueAt uint32) uint32

//go:wasmimport env proxy_get_property
func proxyGetProperty(path, pathSize, valueAt, sizeAt uint32) uint32

//go:wasmimport env proxy_set_property
func proxySetProperty(path, pathSize, value, valueSize uint32) uint32

//go:wasmimport env proxy_send_local_response
func proxySendLocalResponse(code, details, detailsSize, body, bodySize, headers, headersSize, grpc uint32) uint32

//go:wasmimport env proxy_http_call
func proxyHTTPCall(cluster, clusterSize, headers, headersSize, body, bodySize, trailers, trailersSize, timeout, tokenAt uint32) uint32

//go:wasmimport env proxy_call_foreign_function
func proxyCallForeignFunction(name, nameSize, arguments, argumentsSize, resultAt, sizeAt uint32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_write
func fdWrite(fd, iovs, count, writtenAt uint32) uint32

//go:wasmimport wasi_snapshot_preview1 clock_time_get
func clockTimeGet(clock uint32, precision uint64, at uint32) uint32

//go:wasmimport wasi_snapshot_preview1 random_get
func randomGet(at, size uint32) uint32

//go:wasmimport wasi_snapshot_preview1 environ_sizes_get
func environSizesGet(countAt, sizeAt uint32) uint32

//go:wasmimport wasi_snapshot_preview1 poll_oneoff
func pollOneoff(in, out, count, eventsAt uint32) uint32

//go:wasmimport wasi_snapshot_preview1 proc_exit
func procExit(code uint32)

// raw are the hostcalls that a script can make with arbitrary numbers in place of pointers.
var raw = map[string]func(a []uint32) uint32{
	"log":         func(a []uint32) uint32 { return proxyLog(a[0], a[1], a[2]) },
	"loglevel":    func(a []uint32) uint32 { return proxyGetLogLevel(a[0]) },
	"get":         func(a []uint32) uint32 { return proxyGetSharedData(a[0], a[1], a[2], a[3], a[4]) },
	"set":         func(a []uint32) uint32 { return proxySetSharedData(a[0], a[1], a[2], a[3], a[4]) },
	"register":    func(a []uint32) uint32 { return proxyRegisterSharedQueue(a[0], a[1], a[2]) },
	"resolve":     func(a []uint32) uint32 { return proxyResolveSharedQueue(a[0], a[1], a[2], a[3], a[4]) },
	"enqueue":     func(a []uint32) uint32 { return proxyEnqueueSharedQueue(a[0], a[1], a[2]) },
	"dequeue":     func(a []uint32) uint32 { return proxyDequeueSharedQueue(a[0], a[1], a[2]) },
	"header":      func(a []uint32) uint32 { return proxyGetHeaderMapValue(a[0], a[1], a[2], a[3], a[4]) },
	"add":         func(a []uint32) uint32 { return proxyAddHeaderMapValue(a[0], a[1], a[2], a[3], a[4]) },
	"replace":     func(a []uint32) uint32 { return proxyReplaceHeaderMapValue(a[0], a[1], a[2], a[3], a[4]) },
	"remove":      func(a []uint32) uint32 { return proxyRemoveHeaderMapValue(a[0], a[1], a[2]) },
	"pairs":       func(a []uint32) uint32 { return proxyGetHeaderMapPairs(a[0], a[1], a[2]) },
	"setpairs":    func(a []uint32) uint32 { return proxySetHeaderMapPairs(a[0], a[1], a[2]) },
	"mapsize":     func(a []uint32) uint32 { return proxyGetHeaderMapSize(a[0], a[1]) },
	"body":        func(a []uint32) uint32 { return proxyGetBufferBytes(a[0], a[1], a[2], a[3], a[4]) },
	"setbody":     func(a []uint32) uint32 { return proxySetBufferBytes(a[0], a[1], a[2], a[3], a[4]) },
	"bodystatus":  func(a []uint32) uint32 { return proxyGetBufferStatus(a[0], a[1], a[2]) },
	"time":        func(a []uint32) uint32 { return proxyGetCurrentTimeNanoseconds(a[0]) },
	"define":      func(a []uint32) uint32 { return proxyDefineMetric(a[0], a[1], a[2], a[3]) },
	"metric":      func(a []uint32) uint32 { return proxyGetMetric(a[0], a[1]) },
	"property":    func(a []uint32) uint32 { return proxyGetProperty(a[0], a[1], a[2], a[3]) },
	"setproperty": func(a []uint32) uint32 { return proxySetProperty(a[0], a[1], a[2], a[3]) },
	"reply": func(a []uint32) uint32 {
		return proxySendLocalResponse(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7])
	},
	"httpcall": func(a []uint32) uint32 {
		return proxyHTTPCall(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9])
	},
	"status": func(a []uint32) uint32 { return proxyGetStatus(a[0], a[1], a[2]) },
	"grpccall": func(a []uint32) uint32 {
		return proxyGRPCCall(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11])
	},
	"grpcstream": func(a []uint32) uint32 {
		return proxyGRPCStream(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8])
	},
	"grpcsend": func(a []uint32) uint32 { return proxyGRPCSend(a[0], a[1], a[2], a[3]) },
	"foreign":  func(a []uint32) uint32 { return proxyCallForeignFunction(a[0], a[1], a[2], a[3], a[4], a[5]) },
}

// result is where hostcalls write their results.
var result struct {
	data   unsafe.Pointer
	size   uint32
	number uint32
	wide   uint64
}

func address(p unsafe.Pointer) uint32 { return uint32(uintptr(p)) }

var (
	dataAt   = address(unsafe.Pointer(&result.data))
	sizeAt   = address(unsafe.Pointer(&result.size))
	numberAt = address(unsafe.Pointer(&result.number))
	wideAt   = address(unsafe.Pointer(&result.wide))
)

func resultString() string { return string(unsafe.Slice((*byte)(result.data), result.size)) }

// withString calls a function with the address and the size of s, and keeps s alive during the
// call.
func withString(s string, call func(p, n uint32) uint32) uint32 {
	defer runtime.KeepAlive(s)
	return call(address(unsafe.Pointer(unsafe.StringData(s))), uint32(len(s)))
}

func logInfo(message string) {
	withString(message, func(p, n uint32) uint32 { return proxyLog(2, p, n) })
}

func headerValue(kind uint32, key string) (string, uint32) {
	status := withString(key, func(p, n uint32) uint32 { return proxyGetHeaderMapValue(kind, p, n, dataAt, sizeAt) })
	if status != 0 {
		return "", status
	}
	return resultString(), status
}

func bufferText(kind, size uint32) string {
	if size == 0 || proxyGetBufferBytes(kind, 0, size, dataAt, sizeAt) != 0 {
		return ""
	}
	return resultString()
}
