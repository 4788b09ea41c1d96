package plugin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
	"math/rand/v2"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/streamlatch/streamlatch/filter/hostcall"
	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/filter/session"
)

// envoy is Envoy as a [session.Host].
type envoy struct{ plugin *plugin }

// Get implements [registry.Store].
func (envoy) Get(key string) ([]byte, uint32, error) {
	value, cas, err := proxywasm.GetSharedData(key)
	return value, cas, named(err)
}

// Set implements [registry.Store].
func (envoy) Set(key string, value []byte, cas uint32) error {
	return named(proxywasm.SetSharedData(key, value, cas))
}

// Register implements [registry.Queues].
func (e envoy) Register(name string) (uint32, error) { return e.plugin.vm.register(e.plugin, name) }

// Enqueue implements [registry.Queues]. The registry sends no empty message; the SDK would panic.
func (envoy) Enqueue(queue uint32, message []byte) error {
	if len(message) == 0 {
		return errors.New("empty message")
	}
	return proxywasm.EnqueueSharedQueue(queue, message)
}

// Dequeue implements [registry.Queues].
func (envoy) Dequeue(queue uint32) ([]byte, error) {
	message, err := proxywasm.DequeueSharedQueue(queue)
	return message, named(err)
}

// named turns the SDK's errors into those that the registry's interfaces name.
func named(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, types.ErrorStatusNotFound):
		return registry.ErrNotFound
	case errors.Is(err, types.ErrorStatusCasMismatch):
		return registry.ErrCasMismatch
	case errors.Is(err, types.ErrorStatusEmpty):
		return registry.ErrEmpty
	}
	return err
}

func (envoy) Request() session.Request   { return request{} }
func (envoy) Response() session.Response { return response{} }

func (envoy) Reply(status uint32, headers [][2]string, body []byte) error {
	const noGRPC = -1
	return proxywasm.SendHttpResponse(status, headers, body, noGRPC)
}

func (envoy) Now() int64       { return hostcall.MonotonicMs() }
func (envoy) WallClock() int64 { return hostcall.WallMs() }

func (envoy) Node() string {
	id, _ := request{}.Property("xds", "node", "id")
	return id
}

// Workers implements [session.Host].
func (e envoy) Workers() iter.Seq[*session.Worker] {
	return func(yield func(*session.Worker) bool) {
		for _, p := range e.plugin.vm.plugins {
			if !yield(p.worker) {
				return
			}
		}
	}
}

// mark is a filter state that tells requests apart.
var mark = []string{"streamlatch.mark"}

// SameRequest implements [session.Host]. All filters of a request share its filter state. So the
// request gets a mark that no other has: once, and only if there are others to compare it with.
func (envoy) SameRequest(others iter.Seq[uint32]) bool {
	var value []byte
	for context := range others {
		if value == nil {
			value = binary.LittleEndian.AppendUint64(nil, rand.Uint64())
			if proxywasm.SetProperty(mark, value) != nil {
				return false
			}
			defer proxywasm.SetEffectiveContext(0) // back to the running callback's own
		}
		if proxywasm.SetEffectiveContext(context) != nil {
			continue // it has ended
		}
		if found, err := proxywasm.GetProperty(mark); err == nil && bytes.Equal(found, value) {
			return true
		}
	}
	return false
}

// Random is ChaCha8, which Go's runtime seeds from the host's random source for every VM.
func (envoy) Random() uint64 { return rand.Uint64() }

func (envoy) StartTicks(periodMs uint32) error { return proxywasm.SetTickPeriodMilliSeconds(periodMs) }

func (envoy) LogLevel() session.Level { return levelOf(hostcall.EffectiveLogLevel()) }

// levelOf is the level of session for the host's.
func levelOf(level hostcall.LogLevel, err error) session.Level {
	switch {
	case err != nil || level <= hostcall.Debug: // a line too many is better than one too few
		return session.Debug
	case level == hostcall.Info:
		return session.Info
	case level == hostcall.Warn:
		return session.Warn
	}
	return session.Error
}

func (envoy) Log(level session.Level, message string) {
	switch level {
	case session.Debug:
		proxywasm.LogDebug(message)
	case session.Info:
		proxywasm.LogInfo(message)
	case session.Warn:
		proxywasm.LogWarn(message)
	case session.Error:
		proxywasm.LogError(message)
	}
}

func (envoy) Enter(context uint32) bool { return proxywasm.SetEffectiveContext(context) == nil }

// reason is the filter state that access logs print as
// %FILTER_STATE(wasm.streamlatch.reason:PLAIN)%. It is one path element: Envoy joins several by
// NUL, and an access log cannot name those.
var reason = []string{"streamlatch.reason"}

func (envoy) SetReason(why string) error { return proxywasm.SetProperty(reason, []byte(why)) }

func (envoy) Reset() error          { return hostcall.ResetStream() }
func (envoy) Resume() error         { return proxywasm.ResumeHttpRequest() }
func (envoy) ResumeResponse() error { return proxywasm.ResumeHttpResponse() }

func (envoy) Details() string {
	details, _ := request{}.Property("response", "code_details")
	return details
}

func (envoy) Define(kind session.Kind, name string) (session.Metric, error) {
	kinds := map[session.Kind]hostcall.MetricKind{
		session.Counter: hostcall.Counter, session.Gauge: hostcall.Gauge, session.Histogram: hostcall.Histogram,
	}
	m, err := hostcall.DefineMetric(kinds[kind], name)
	return session.Metric(m), err
}

func (envoy) Add(m session.Metric, by int64) error {
	return hostcall.IncrementMetric(hostcall.Metric(m), by)
}

func (envoy) Record(m session.Metric, value uint64) error {
	return hostcall.RecordMetric(hostcall.Metric(m), value)
}

func (envoy) Value(m session.Metric) (uint64, error) { return hostcall.MetricValue(hostcall.Metric(m)) }

// request is the request whose callback is running.
type request struct{}

func (request) Header(name string) (string, bool) {
	value, err := hostcall.Header(hostcall.RequestHeaders, name)
	return value, err == nil
}

func (request) AppendHeaders(dst [][2]string) ([][2]string, bool) {
	return appendHeaders(dst, hostcall.RequestHeaders)
}

func (request) Property(path ...string) (string, bool) {
	value, err := proxywasm.GetProperty(path)
	return string(value), err == nil
}

func (request) Body(size int) ([]byte, error) { return proxywasm.GetHttpRequestBody(0, size) }

// response is the response whose callback is running.
type response struct{}

func (response) Header(name string) (string, bool) {
	value, err := hostcall.Header(hostcall.ResponseHeaders, name)
	return value, err == nil
}

func (response) AppendHeaders(dst [][2]string) ([][2]string, bool) {
	return appendHeaders(dst, hostcall.ResponseHeaders)
}

func appendHeaders(dst [][2]string, kind hostcall.HeaderMap) ([][2]string, bool) {
	all, err := hostcall.AppendHeaders(dst, kind)
	return all, err == nil
}

func (response) Body(offset, size int) ([]byte, error) {
	return proxywasm.GetHttpResponseBody(offset, size)
}

func (response) AppendBody(data []byte) error { return proxywasm.AppendHttpResponseBody(data) }
func (response) DropBody() error              { return proxywasm.ReplaceHttpResponseBody(nil) }
