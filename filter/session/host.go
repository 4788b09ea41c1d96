package session

import (
	"iter"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// Host is what a worker needs of Envoy. In the filter, package plugin implements it with the SDK;
// in tests a map and a clock are enough.
//
// A call is about the stream whose callback is running, unless [Streams.Enter] has chosen another.
type Host interface {
	registry.Store
	registry.Queues
	Streams
	Calls
	Metrics

	// Request reads the request; only in [Worker.Request] and [Stream.RequestBody], and while the
	// request waits.
	Request() Request
	// Response reads the response; only in [Stream.Response] and [Stream.ResponseBody].
	Response() Response
	// Reply answers the request in place of the backend, or replaces the backend's answer; only in
	// [Worker.Request], [Stream.RequestBody] and [Stream.Response], which then return Pause, and
	// while the request waits.
	Reply(status uint32, headers [][2]string, body []byte) error

	// Workers yields all workers in this VM.
	Workers() iter.Seq[*Worker]
	// SameRequest reports whether one of the streams with these contexts, of workers in this VM, is
	// the request whose callback is running: it has passed two filters.
	SameRequest(others iter.Seq[uint32]) bool

	// Now returns the time in milliseconds, by a clock that all workers share and that only goes
	// forward.
	Now() int64
	// WallClock returns the time in milliseconds since 1970, by the Envoy's own clock, which may be
	// set.
	WallClock() int64
	// Node returns the Envoy's node id, or "".
	Node() string
	// Random returns a number that no client can predict.
	Random() uint64
	// StartTicks makes the host call [Worker.Tick] again and again, periodMs milliseconds after
	// the last.
	StartTicks(periodMs uint32) error

	// LogLevel returns the lowest level that is written.
	LogLevel() Level
	Log(level Level, message string)
}

// Headers are the headers of a request or response.
type Headers interface {
	// Header returns the first value of the header with this lower-case name; ":path", ":method",
	// ":authority", ":scheme" and ":status" are headers too. ok is false if there is none.
	Header(name string) (value string, ok bool)
	// AppendHeaders appends name and value of all headers to dst. It costs little more than to read
	// one. ok is false if the host cannot do it.
	AppendHeaders(dst [][2]string) (all [][2]string, ok bool)
}

// Request is the request whose callback is running.
type Request interface {
	Headers
	// Property returns the bytes of an attribute of the stream in Envoy. ok is false without one.
	Property(path ...string) (value string, ok bool)
	// Body returns the body that has come so far, up to size bytes; only in [Stream.RequestBody].
	Body(size int) ([]byte, error)
}

// Response is the response whose callback is running.
type Response interface {
	Headers // only in [Stream.Response]
	// Body returns size bytes, from offset on, of the part of the body that is passing.
	Body(offset, size int) ([]byte, error)
	// AppendBody adds data to the part that is passing.
	AppendBody(data []byte) error
	// DropBody removes the part that is passing.
	DropBody() error
}

// Streams acts on the worker's streams.
type Streams interface {
	// Enter makes all calls up to the end of the running callback be about the stream with this
	// context. It reports false if Envoy has forgotten that stream. Only in [Worker.Tick],
	// [Worker.Wake], [Worker.Answered] and [Worker.CallFailed].
	Enter(context uint32) bool
	// SetReason leaves the reason why the filter ends or refuses the stream to the access log.
	SetReason(reason string) error
	// Reset resets the stream when the running callback has returned.
	Reset() error
	// Resume lets the request go on that [Worker.Request] or [Stream.RequestBody] has paused.
	Resume() error
	// ResumeResponse lets the response go on that [Stream.Response] has paused.
	ResumeResponse() error
	// Details returns how Envoy says that the stream has ended, its RESPONSE_CODE_DETAILS, or "".
	// Only in [Stream.End].
	Details() string
}

// Calls are calls of gRPC to etcd, of the worker and not of a stream. Answers come as
// [Worker.Answered] and [Worker.CallFailed], never before the running callback has returned.
//
// Each of these methods ends what [Streams.Enter] has chosen: calls of the host are about the
// running callback's own stream again.
type Calls interface {
	// Call sends one request, and does not keep message. An error says that it was not sent. Then
	// CallFailed may come all the same, for a call that Call has never returned.
	Call(cluster string, m etcd.Method, message []byte, timeout policy.Millis) (call uint32, err error)
	// Open opens a stream of messages in both directions ([etcd.Method.Streams]). For an error see
	// Call.
	Open(cluster string, m etcd.Method) (call uint32, err error)
	// Send sends a message on such a stream, and does not keep it.
	Send(call uint32, message []byte) error
	// Cancel makes that nothing more is heard of a call.
	Cancel(call uint32) error
}

// Metrics are counters, gauges and histograms of the whole Envoy: the same name on every worker is
// one metric.
type Metrics interface {
	// Define returns a number for the metric with this name.
	Define(kind Kind, name string) (Metric, error)
	// Add adds to a counter, by more than 0, or to a gauge.
	Add(m Metric, by int64) error
	// Record sets a gauge or records a value in a histogram.
	Record(m Metric, value uint64) error
	// Value returns what all workers have made of a gauge or counter.
	Value(m Metric) (uint64, error)
}

// Metric is the host's number for a metric.
type Metric uint32

// Kind is what a metric measures.
type Kind uint8

const (
	Counter   Kind = iota + 1 // only grows
	Gauge                     // a present value
	Histogram                 // a distribution of values
)

// Level is a level of the log, the most talkative first.
type Level uint8

const (
	Debug Level = iota + 1
	Info
	Warn
	Error
)

// Action says whether Envoy goes on with a request or response.
type Action uint8

const (
	Continue Action = iota + 1
	Pause
)
