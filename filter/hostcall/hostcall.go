// Package hostcall is what the filter needs of the proxy-wasm ABI, version 0.2.1, and the SDK
// (github.com/proxy-wasm/proxy-wasm-go-sdk) does not offer: ending an HTTP stream, the log level,
// the monotonic time, and metrics whose failure is an error. The SDK's metrics panic when the host
// refuses a call, and a panic in the filter cuts every stream of its worker; nor can they set a
// gauge.
//
// Each function is one import. Its comment says what Envoy does with it, where that is in the
// source of proxy-wasm-cpp-host (exports.cc) and Envoy (context.cc), and which errors come back.
// All errors are a [Status]. A call that Envoy's capability_restriction_config does not allow fails
// with InternalFailure. Outside of a wasm host, in a plain Go test, every call fails with
// Unimplemented.
//
// The ABI: https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1
package hostcall

import (
	"fmt"
	"unsafe"
)

// Status is the result of a call that failed.
type Status uint32

// The statuses that Envoy gives to these calls.
const (
	ok              Status = 0
	NotFound        Status = 1
	BadArgument     Status = 2
	InternalFailure Status = 10
	Unimplemented   Status = 12
)

func (s Status) Error() string {
	switch s {
	case NotFound:
		return "host: not found"
	case BadArgument:
		return "host: bad argument"
	case InternalFailure:
		return "host: internal failure"
	case Unimplemented:
		return "host: unimplemented"
	}
	return fmt.Sprintf("host: status %d", uint32(s))
}

// err is nil for a call that went well.
func (s Status) err() error {
	if s == ok {
		return nil
	}
	return s
}

// ResetStream is proxy_close_stream for the response: it resets the stream of the effective
// context, towards the client and towards the backend. Envoy does so when the running callback has
// returned (Context::closeStream, DeferAfterCallActions). For a plugin context it succeeds and does
// nothing. Resetting the request, type 0, does the same.
//
// A stream must not be reset twice, nor when it has ended: over HTTP/1.1 and HTTP/2 that is one
// more on_log, over HTTP/3 it crashes Envoy.
//
// Resets of one callback are carried out nested: some 1,700 of them overflow the VM's stack.
func ResetStream() error {
	const response = 1
	return closeStream(response).err()
}

// LogLevel is a level of the host's log.
type LogLevel uint32

// The levels of the ABI.
const (
	Trace LogLevel = iota
	Debug
	Info
	Warn
	Error
	Critical
	Off // only as the host's level: it writes nothing
)

// EffectiveLogLevel is proxy_get_log_level, of ABI 0.2.1: the lowest level that the host writes.
// It follows a change through Envoy's admin endpoint /logging. It does not fail in Envoy.
func EffectiveLogLevel() (level LogLevel, err error) {
	err = getLogLevel(&level).err()
	return level, err
}

// MonotonicMs is clock_time_get of WASI for the monotonic clock, in milliseconds. In Envoy that is
// one clock for the whole process, so workers may compare its times, and nobody can set it
// (proxy-wasm-cpp-host, src/exports.cc, wasi_unstable_clock_time_get). The time package has no way
// to read it alone: time.Now makes two calls.
func MonotonicMs() int64 {
	const monotonic, precision = 1, 1_000_000 // nanoseconds
	var now int64
	clockTimeGet(monotonic, precision, &now) // cannot fail for this clock
	return now / 1_000_000
}

// MetricKind is what a metric measures.
type MetricKind uint32

// The kinds of the ABI.
const (
	Counter   MetricKind = iota // only grows
	Gauge                       // a present value
	Histogram                   // a distribution of values
)

// Metric names a metric of the whole Envoy: the same name on all workers is one metric.
type Metric uint32

// DefineMetric is proxy_define_metric. Defining a name again returns another Metric for the same
// metric. It fails with BadArgument for a kind that the ABI does not have.
func DefineMetric(kind MetricKind, name string) (m Metric, err error) {
	err = defineMetric(kind, unsafe.StringData(name), int32(len(name)), &m).err()
	return m, err
}

// IncrementMetric is proxy_increment_metric: it adds to a counter or a gauge. It fails with
// BadArgument for a histogram, and for a counter unless by is positive; with NotFound for a Metric
// that this VM has not defined.
func IncrementMetric(m Metric, by int64) error { return incrementMetric(m, by).err() }

// RecordMetric is proxy_record_metric: it adds value to a counter, sets a gauge, and records a
// value in a histogram. It fails with NotFound for a Metric that this VM has not defined.
func RecordMetric(m Metric, value uint64) error { return recordMetric(m, value).err() }

// MetricValue is proxy_get_metric: the value that all workers together have given a counter or a
// gauge. It fails with BadArgument for a histogram and NotFound for a Metric that this VM has not
// defined.
func MetricValue(m Metric) (value uint64, err error) {
	err = getMetric(m, &value).err()
	return value, err
}
