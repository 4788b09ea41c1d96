package proxywasm

import "unsafe"

// The host's functions, as the ABI names them.

//go:wasmimport wasi_snapshot_preview1 clock_time_get
func clockTimeGet(id uint32, precisionNs uint64, ns *int64) uint32

//go:wasmimport env proxy_log
func proxyLog(level uint32, message *byte, size int32) Status

//go:wasmimport env proxy_get_shared_data
func proxyGetSharedData(key *byte, keySize int32, value unsafe.Pointer, valueSize *int32, cas *uint32) Status

//go:wasmimport env proxy_set_shared_data
func proxySetSharedData(key *byte, keySize int32, value *byte, valueSize int32, cas uint32) Status

//go:wasmimport env proxy_register_shared_queue
func proxyRegisterSharedQueue(name *byte, nameSize int32, queue *uint32) Status

//go:wasmimport env proxy_enqueue_shared_queue
func proxyEnqueueSharedQueue(queue uint32, message *byte, size int32) Status

//go:wasmimport env proxy_dequeue_shared_queue
func proxyDequeueSharedQueue(queue uint32, message unsafe.Pointer, size *int32) Status

//go:wasmimport env proxy_get_header_map_value
func proxyGetHeaderMapValue(kind uint32, name *byte, nameSize int32, value unsafe.Pointer, valueSize *int32) Status

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBufferBytes(kind uint32, offset, size int32, data unsafe.Pointer, dataSize *int32) Status

//go:wasmimport env proxy_set_buffer_bytes
func proxySetBufferBytes(kind uint32, offset, size int32, data *byte, dataSize int32) Status

//go:wasmimport env proxy_send_local_response
func proxySendLocalResponse(status uint32, details *byte, detailsSize int32, body *byte, bodySize int32, headers *byte, headersSize int32, grpcStatus int32) Status

//go:wasmimport env proxy_get_property
func proxyGetProperty(path *byte, pathSize int32, value unsafe.Pointer, valueSize *int32) Status

//go:wasmimport env proxy_set_property
func proxySetProperty(path *byte, pathSize int32, value *byte, valueSize int32) Status

//go:wasmimport env proxy_continue_stream
func proxyContinueStream(kind uint32) Status

//go:wasmimport env proxy_close_stream
func proxyCloseStream(kind uint32) Status

//go:wasmimport env proxy_set_tick_period_milliseconds
func proxySetTickPeriodMilliseconds(ms uint32) Status

//go:wasmimport env proxy_set_effective_context
func proxySetEffectiveContext(contextID uint32) Status

//go:wasmimport env proxy_define_metric
func proxyDefineMetric(kind uint32, name *byte, nameSize int32, id *uint32) Status

//go:wasmimport env proxy_increment_metric
func proxyIncrementMetric(id uint32, by int64) Status

//go:wasmimport env proxy_record_metric
func proxyRecordMetric(id uint32, value uint64) Status

//go:wasmimport env proxy_get_metric
func proxyGetMetric(id uint32, value *uint64) Status
