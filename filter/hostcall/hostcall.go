// Package hostcall is what the filter needs of the proxy-wasm ABI, version 0.2.1, and the SDK
// (github.com/proxy-wasm/proxy-wasm-go-sdk) does not offer: ending an HTTP stream, calls of gRPC,
// the log level, the time by one call, metrics whose failure is an error, and headers without
// garbage, and without a panic if there are none. The SDK's metrics panic when the host refuses a
// call, and a panic in the filter cuts every stream of its worker; nor can they set a gauge.
//
// Each function is one import. Its comment is an entry of a reference: the name of the call in the
// specification, what it does in Envoy, parameters, when it fails, and where that is in the source.
// There cpp-host is github.com/proxy-wasm/proxy-wasm-cpp-host, and context.cc is Envoy's
// source/extensions/common/wasm/context.cc. Not listed are two statuses that every call can return:
//
//   - InternalFailure: Envoy's capability_restriction_config does not allow the call
//     (cpp-host, include/proxy-wasm/exports.h)
//   - Unimplemented: there is no wasm host, as in a plain Go test
//
// The ABI: https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1
package hostcall

import (
	"encoding/binary"
	"errors"
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
	ParseFailure    Status = 4
	InternalFailure Status = 10
	Unimplemented   Status = 12
)

func (s Status) Error() string {
	switch s {
	case NotFound:
		return "host: not found"
	case BadArgument:
		return "host: bad argument"
	case ParseFailure:
		return "host: parse failure"
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

// ResetStream is proxy_close_stream for type 1, the response. It resets the stream of the effective
// context, towards the client and towards the backend, when the running callback has returned. Type
// 0, the request, would do the same. It succeeds and does nothing if the effective context has no
// stream, as a plugin context.
//
// A stream must not be reset twice, nor after its end: over HTTP/1.1 and HTTP/2 that is one more
// on_log, over HTTP/3 it crashes Envoy. One callback must reset some 1,700 streams at most: Envoy
// carries the resets out nested, and the VM's stack would overflow.
//
// It does not fail: BadArgument is for types above 3.
//
// cpp-host: src/exports.cc, close_stream. Envoy: context.cc, closeStream.
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

// EffectiveLogLevel is proxy_get_log_level, which Envoy has since ABI 0.2.1. It returns the lowest
// level that Envoy writes now; Envoy's admin endpoint /logging can change it at any time.
//
// It does not fail.
//
// cpp-host: src/exports.cc, get_log_level.
func EffectiveLogLevel() (level LogLevel, err error) {
	err = getLogLevel(&level).err()
	return level, err
}

// MonotonicMs is clock_time_get of WASI for clock 1, the monotonic clock, in milliseconds. In Envoy
// it is one clock for the whole process, which nobody can set. So workers may compare its times.
// Zero has no meaning. The time package cannot read this clock alone: time.Now makes two calls.
//
// It cannot fail in Envoy: this clock exists (58, ENOTSUP, is for others), and the result has an
// address (21, EFAULT). Where capability_restriction_config forbids the call (76, ENOTCAPABLE), the
// VM does not start, because Go's runtime needs it. Without a host the time is 0.
//
// cpp-host: src/exports.cc, wasi_unstable_clock_time_get.
func MonotonicMs() int64 {
	const monotonic = 1
	return clockMs(monotonic)
}

// WallMs is clock_time_get of WASI for clock 0, in milliseconds since 1970. It is the clock of the
// machine, which may be set at any time. For the rest see [MonotonicMs].
//
// cpp-host: src/exports.cc, wasi_unstable_clock_time_get.
func WallMs() int64 {
	const realtime = 0
	return clockMs(realtime)
}

func clockMs(clock uint32) int64 {
	const precision = 1_000_000 // nanoseconds
	var now int64
	clockTimeGet(clock, precision, &now) // cannot fail for these clocks
	return now / 1_000_000
}

// HeaderMap is a kind of header map of the effective context's stream.
type HeaderMap uint32

// The header maps of the ABI that the filter reads.
const (
	RequestHeaders  HeaderMap = 0
	ResponseHeaders HeaderMap = 2
)

// result is where Envoy puts what a call returns. The VM has one thread, and a call in which Envoy
// calls the VM for memory makes no other call, so one will do. Were it a variable of the call, each
// read would cost two allocations: Go lets it escape.
var result struct {
	data *byte
	size int32
}

// Header is proxy_get_header_map_value. It returns the first value of a header. The SDK has it too;
// this one makes no garbage, and is the one call that every request costs.
//
// Parameters: kind, as for [AppendHeaders]; the name of the header, in any case.
//
// It fails with NotFound if there is no such header, or no such map in the running callback.
//
// cpp-host: src/exports.cc, get_header_map_value. Envoy: context.cc, getHeaderMapValue.
func Header(kind HeaderMap, name string) (string, error) {
	data, size := &result.data, &result.size
	*data, *size = nil, 0
	err := getHeaderMapValue(kind, unsafe.StringData(name), int32(len(name)), unsafe.Pointer(data), size).err()
	if err != nil {
		return "", err
	}
	return view(unsafe.Slice(*data, max(0, *size))), nil
}

// AppendHeaders is proxy_get_header_map_pairs. It appends the name and the value of every header to
// dst, in Envoy's order. Names are in lower case; a name may come twice. The name "host" does not
// come: Envoy keeps it as ":authority", and for proxy_get_header_map_value both are one.
//
// Parameter: kind; the map must be one that the running callback can read. If it is not, Envoy
// gives no headers, and that is not an error.
//
// It does not fail: BadArgument is for kinds that the ABI does not have.
//
// cpp-host: src/exports.cc, get_header_map_pairs; src/pairs_util.cc. Envoy: context.cc,
// getHeaderMapPairs.
func AppendHeaders(dst [][2]string, kind HeaderMap) ([][2]string, error) {
	data, size := &result.data, &result.size
	*data, *size = nil, 0
	if err := getHeaderMapPairs(kind, unsafe.Pointer(data), size).err(); err != nil {
		return dst, err
	}
	return appendPairs(dst, unsafe.Slice(*data, max(0, *size)))
}

var errPairs = errors.New("host: the header map is cut short")

// appendPairs decodes a header map: the number of pairs, the sizes of each one's name and value,
// and then the names and values themselves, each with a zero byte after it. The strings share the
// memory of data, which nobody may change any more.
func appendPairs(dst [][2]string, data []byte) ([][2]string, error) {
	const number = 4
	if len(data) == 0 {
		return dst, nil
	}
	if len(data) < number {
		return dst, errPairs
	}
	n := int(binary.LittleEndian.Uint32(data))
	data = data[number:]
	if n > len(data)/(2*number) {
		return dst, errPairs
	}
	sizes, text := data[:n*2*number], data[n*2*number:]
	for ; len(sizes) > 0; sizes = sizes[2*number:] {
		name := int(binary.LittleEndian.Uint32(sizes))
		value := int(binary.LittleEndian.Uint32(sizes[number:]))
		if len(text) < name+1+value+1 {
			return dst, errPairs
		}
		dst = append(dst, [2]string{view(text[:name]), view(text[name+1 : name+1+value])})
		text = text[name+1+value+1:]
	}
	return dst, nil
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

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

// DefineMetric is proxy_define_metric. It returns a Metric for the name, in which all VMs of the
// process share one value. Each call returns another Metric, even for a name that is known.
//
// Parameters: kind; name, the name without the prefix wasmcustom that Envoy gives it.
//
//   - BadArgument: the ABI has no such kind
//
// cpp-host: src/exports.cc, define_metric. Envoy: context.cc, defineMetric.
func DefineMetric(kind MetricKind, name string) (m Metric, err error) {
	err = defineMetric(kind, unsafe.StringData(name), int32(len(name)), &m).err()
	return m, err
}

// IncrementMetric is proxy_increment_metric. It adds to a counter or a gauge.
//
// Parameters: m, a Metric that this VM has defined; by, which may be negative for a gauge.
//
//   - BadArgument: m is a histogram; or it is a counter, and by is 0 or negative
//   - NotFound: this VM has not defined m
//
// cpp-host: src/exports.cc, increment_metric. Envoy: context.cc, incrementMetric.
func IncrementMetric(m Metric, by int64) error { return incrementMetric(m, by).err() }

// RecordMetric is proxy_record_metric. It adds value to a counter, sets a gauge to it, and gives a
// histogram one more sample.
//
// Parameters: m, a Metric that this VM has defined; value, in the unit of the metric.
//
//   - NotFound: this VM has not defined m
//
// cpp-host: src/exports.cc, record_metric. Envoy: context.cc, recordMetric.
func RecordMetric(m Metric, value uint64) error { return recordMetric(m, value).err() }

// MetricValue is proxy_get_metric. It returns the value that all workers together have given a
// counter or a gauge.
//
// Parameter: m, a Metric that this VM has defined.
//
//   - BadArgument: m is a histogram
//   - NotFound: this VM has not defined m
//
// cpp-host: src/exports.cc, get_metric. Envoy: context.cc, getMetric.
func MetricValue(m Metric) (value uint64, err error) {
	err = getMetric(m, &value).err()
	return value, err
}
