//go:build !wasip1

package hostcall

import "unsafe"

// There is no host here: natively the package is only compiled.

func closeStream(uint32) Status                                                { return Unimplemented }
func getLogLevel(*LogLevel) Status                                             { return Unimplemented }
func defineMetric(MetricKind, *byte, int32, *Metric) Status                    { return Unimplemented }
func incrementMetric(Metric, int64) Status                                     { return Unimplemented }
func recordMetric(Metric, uint64) Status                                       { return Unimplemented }
func getMetric(Metric, *uint64) Status                                         { return Unimplemented }
func getHeaderMapValue(HeaderMap, *byte, int32, unsafe.Pointer, *int32) Status { return Unimplemented }
func getHeaderMapPairs(HeaderMap, unsafe.Pointer, *int32) Status               { return Unimplemented }
func clockTimeGet(_ uint32, _ uint64, now *int64) uint32                       { return uint32(Unimplemented) }

func grpcCall(*byte, int32, *byte, int32, *byte, int32, *byte, int32, *byte, int32, uint32, *uint32) Status {
	return Unimplemented
}

func grpcStream(*byte, int32, *byte, int32, *byte, int32, *byte, int32, *uint32) Status {
	return Unimplemented
}

func grpcSend(uint32, *byte, int32, uint32) Status                         { return Unimplemented }
func grpcClose(uint32) Status                                              { return Unimplemented }
func grpcCancel(uint32) Status                                             { return Unimplemented }
func getBufferBytes(uint32, uint32, uint32, unsafe.Pointer, *int32) Status { return Unimplemented }
func getStatus(*uint32, unsafe.Pointer, *int32) Status                     { return Unimplemented }
