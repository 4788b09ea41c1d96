package hostcall

import "unsafe"

//go:wasmimport env proxy_close_stream
func closeStream(kind uint32) Status

//go:wasmimport env proxy_get_log_level
func getLogLevel(level *LogLevel) Status

//go:wasmimport env proxy_get_header_map_value
func getHeaderMapValue(kind HeaderMap, name *byte, nameSize int32, data unsafe.Pointer, size *int32) Status

//go:wasmimport env proxy_get_header_map_pairs
func getHeaderMapPairs(kind HeaderMap, data unsafe.Pointer, size *int32) Status

//go:wasmimport env proxy_define_metric
func defineMetric(kind MetricKind, name *byte, nameSize int32, m *Metric) Status

//go:wasmimport env proxy_increment_metric
func incrementMetric(m Metric, by int64) Status

//go:wasmimport env proxy_record_metric
func recordMetric(m Metric, value uint64) Status

//go:wasmimport env proxy_get_metric
func getMetric(m Metric, value *uint64) Status

//go:wasmimport env proxy_grpc_call
func grpcCall(service *byte, serviceSize int32, name *byte, nameSize int32, method *byte, methodSize int32,
	metadata *byte, metadataSize int32, message *byte, messageSize int32, timeoutMs uint32, token *uint32) Status

//go:wasmimport env proxy_grpc_stream
func grpcStream(service *byte, serviceSize int32, name *byte, nameSize int32, method *byte, methodSize int32,
	metadata *byte, metadataSize int32, token *uint32) Status

//go:wasmimport env proxy_grpc_send
func grpcSend(token uint32, message *byte, messageSize int32, endOfStream uint32) Status

//go:wasmimport env proxy_grpc_close
func grpcClose(token uint32) Status

//go:wasmimport env proxy_grpc_cancel
func grpcCancel(token uint32) Status

//go:wasmimport env proxy_get_buffer_bytes
func getBufferBytes(kind, start, length uint32, data unsafe.Pointer, size *int32) Status

//go:wasmimport env proxy_get_status
func getStatus(code *uint32, message unsafe.Pointer, size *int32) Status

// The host does not call the VM before it returns, so its result may be on the stack.
//
//go:wasmimport wasi_snapshot_preview1 clock_time_get
//go:noescape
func clockTimeGet(clock uint32, precision uint64, now *int64) uint32
