//go:build !wasip1

package proxywasm

import "unsafe"

// There is no host here: natively the filter is compiled for its pure parts only.

func clockTimeGet(uint32, uint64, *int64) uint32                              { return uint32(Unimplemented) }
func proxyLog(uint32, *byte, int32) Status                                    { return Unimplemented }
func proxyGetSharedData(*byte, int32, unsafe.Pointer, *int32, *uint32) Status { return Unimplemented }
func proxySetSharedData(*byte, int32, *byte, int32, uint32) Status            { return Unimplemented }
func proxyRegisterSharedQueue(*byte, int32, *uint32) Status                   { return Unimplemented }
func proxyEnqueueSharedQueue(uint32, *byte, int32) Status                     { return Unimplemented }
func proxyDequeueSharedQueue(uint32, unsafe.Pointer, *int32) Status           { return Unimplemented }
func proxyGetHeaderMapValue(uint32, *byte, int32, unsafe.Pointer, *int32) Status {
	return Unimplemented
}
func proxyGetBufferBytes(uint32, int32, int32, unsafe.Pointer, *int32) Status { return Unimplemented }
func proxySetBufferBytes(uint32, int32, int32, *byte, int32) Status           { return Unimplemented }
func proxySendLocalResponse(uint32, *byte, int32, *byte, int32, *byte, int32, int32) Status {
	return Unimplemented
}
func proxyGetProperty(*byte, int32, unsafe.Pointer, *int32) Status { return Unimplemented }
func proxySetProperty(*byte, int32, *byte, int32) Status           { return Unimplemented }
func proxyContinueStream(uint32) Status                            { return Unimplemented }
func proxyCloseStream(uint32) Status                               { return Unimplemented }
func proxySetTickPeriodMilliseconds(uint32) Status                 { return Unimplemented }
func proxySetEffectiveContext(uint32) Status                       { return Unimplemented }
func proxyDefineMetric(uint32, *byte, int32, *uint32) Status       { return Unimplemented }
func proxyIncrementMetric(uint32, int64) Status                    { return Unimplemented }
func proxyRecordMetric(uint32, uint64) Status                      { return Unimplemented }
func proxyGetMetric(uint32, *uint64) Status                        { return Unimplemented }
