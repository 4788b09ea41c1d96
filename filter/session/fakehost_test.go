//go:build !wasip1

package session

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// The callbacks, for the contract of Host.
const (
	inRequest  = "request"
	inResponse = "response"
	inBody     = "body"
	inDone     = "done"
	inTick     = "tick"
	inWake     = "wake"
	inCall     = "call"
)

// only fails the test if another callback is running.
func (h *fakeHost) only(call string, callbacks ...string) {
	h.t.Helper()
	if !slices.Contains(callbacks, h.callback) {
		h.t.Errorf("%s in callback %q, want it in %q only", call, h.callback, callbacks)
	}
}

// breaks makes the host call with this name fail, about keys and names that contain a text, until
// it is mended.
func (e *edge) breaks(call, about string, err error) {
	e.fails = func(c, a string) error {
		if c == call && strings.Contains(a, about) {
			return err
		}
		return nil
	}
}

func (e *edge) mend() { e.fails = nil }

// errBroken is the error of a host call that a test breaks.
var errBroken = errors.New("broken")

func (e *edge) failure(call, about string) error {
	if e.fails == nil {
		return nil
	}
	return e.fails(call, about)
}

// Get implements [registry.Store].
func (e *edge) Get(key string) ([]byte, uint32, error) {
	if err := e.failure("get", key); err != nil {
		return nil, 0, err
	}
	d, ok := e.data[key]
	if !ok {
		return nil, 0, registry.ErrNotFound
	}
	return slices.Clone(d.value), d.cas, nil
}

// Set implements [registry.Store].
func (e *edge) Set(key string, value []byte, cas uint32) error {
	if err := e.failure("set", key); err != nil {
		return err
	}
	if d, ok := e.data[key]; ok && d.cas != cas {
		return registry.ErrCasMismatch
	}
	e.data[key] = datum{slices.Clone(value), e.data[key].cas + 1}
	return nil
}

// Register implements [registry.Queues].
func (h *fakeHost) Register(name string) (uint32, error) {
	if err := h.failure("register", name); err != nil {
		return 0, err
	}
	i := slices.IndexFunc(h.queues, func(q queue) bool { return q.name == name })
	if i < 0 {
		i = len(h.queues)
		h.queues = append(h.queues, queue{name: name})
	}
	h.queues[i].owner = h
	return uint32(i + 1), nil
}

// Enqueue implements [registry.Queues].
func (e *edge) Enqueue(token uint32, message []byte) error {
	if err := e.failure("enqueue", ""); err != nil {
		return err
	}
	q := &e.queues[token-1]
	q.messages = append(q.messages, slices.Clone(message))
	e.wakeups = append(e.wakeups, token)
	return nil
}

// Dequeue implements [registry.Queues].
func (e *edge) Dequeue(token uint32) ([]byte, error) {
	q := &e.queues[token-1]
	if len(q.messages) == 0 {
		return nil, registry.ErrEmpty
	}
	first := q.messages[0]
	q.messages = q.messages[1:]
	return first, nil
}

func (h *fakeHost) Request() Request {
	if x := h.effective; x == nil || !x.waits {
		h.only("Request", inRequest)
	}
	return h.effective.request
}

func (h *fakeHost) Response() Response { h.only("Response", inResponse, inBody); return h.effective }

// Workers implements [Host].
func (h *fakeHost) Workers() iter.Seq[*Worker] {
	return func(yield func(*Worker) bool) { yield(h.worker) }
}

// SameRequest implements [Host].
func (h *fakeHost) SameRequest(others iter.Seq[uint32]) bool {
	h.only("SameRequest", inRequest, inResponse)
	for context := range others {
		if h.same != nil && h.same(context) {
			return true
		}
	}
	return false
}

func (h *fakeHost) Reply(status uint32, headers [][2]string, body []byte) error {
	if x := h.effective; x == nil || !x.waits {
		h.only("Reply", inRequest, inResponse)
	}
	if err := h.failure("reply", ""); err != nil {
		return err
	}
	h.effective.waits = false
	h.effective.reply = &answer{status, map[string]string{}, string(body)}
	for _, field := range headers {
		h.effective.reply.headers[field[0]] = field[1]
	}
	return nil
}

// sinceEpoch is the wall clock's time at the start of the other.
const sinceEpoch = 1_800_000_000_000

func (e *edge) Now() int64       { return e.now }
func (e *edge) WallClock() int64 { return e.now + sinceEpoch }
func (e *edge) Node() string     { return "" }
func (e *edge) Random() uint64   { return e.random() }
func (e *edge) LogLevel() Level  { return e.level }

func (h *fakeHost) StartTicks(periodMs uint32) error {
	h.period = periodMs
	return h.failure("ticks", "")
}

func (e *edge) Log(level Level, message string) {
	names := map[Level]string{Debug: "debug", Info: "info", Warn: "warn", Error: "error"}
	if level >= e.level {
		e.log = append(e.log, names[level]+" "+message)
	}
}

func (h *fakeHost) Enter(context uint32) bool {
	if h.own == nil || h.own.id != context {
		h.only("Enter", inTick, inWake, inCall)
	}
	if h.entered != nil {
		h.entered()
	}
	h.effective = h.live[context]
	return h.effective != nil
}

func (h *fakeHost) SetReason(reason string) error {
	h.effective.reason = reason
	return h.failure("reason", "")
}

func (h *fakeHost) Reset() error {
	h.only("Reset", inTick, inWake, inCall)
	x := h.effective
	if err := h.failure("reset", ""); err != nil {
		return err
	}
	if x.resets++; x.resets > 1 {
		h.t.Errorf("stream %d is reset twice", x.id)
	}
	h.acted = append(h.acted, x)
	return nil
}

func (h *fakeHost) Resume() error {
	h.only("Resume", inTick, inWake, inCall)
	x := h.effective
	if x == nil || !x.waits {
		return errors.New("resume of a request that is not paused")
	}
	x.waits = false
	h.acted = append(h.acted, x)
	return nil
}

func (h *fakeHost) ResumeResponse() error {
	h.only("ResumeResponse", inTick, inWake, inCall)
	x := h.effective
	if x == nil || x.response == nil || x.action != Pause {
		return errors.New("resume of a response that is not paused")
	}
	x.action = Continue
	h.acted = append(h.acted, x)
	return nil
}

// Call implements [Calls]. There is no etcd here: a call fails at once, or never, until a test lets
// it.
func (h *fakeHost) Call(string, etcd.Method, []byte, policy.Millis) (uint32, error) {
	h.effective = h.own
	if !h.silent {
		return 0, errBroken
	}
	h.called++
	return h.called, nil
}

func (h *fakeHost) Open(cluster string, m etcd.Method) (uint32, error) {
	return h.Call(cluster, m, nil, 0)
}

func (h *fakeHost) Send(uint32, []byte) error { h.effective = h.own; return nil }
func (h *fakeHost) Cancel(uint32) error       { h.effective = h.own; return nil }

func (h *fakeHost) Details() string { h.only("Details", inDone); return h.effective.details }

func (h *fakeHost) Define(kind Kind, name string) (Metric, error) {
	if err := h.failure("define", name); err != nil {
		return 0, err
	}
	// Twice: for a rule of its own, and again for what other configurations have.
	if h.defined[name]++; h.defined[name] > 2 {
		h.t.Errorf("metric %s is defined again and again", name)
	}
	h.kinds[name] = kind
	h.names = append(h.names, name)
	return Metric(len(h.names)), nil
}

func (e *edge) metric(m Metric) (name string, err error) {
	if m == 0 || int(m) > len(e.names) {
		return "", fmt.Errorf("metric %d is not defined", m)
	}
	return e.names[m-1], nil
}

func (e *edge) Add(m Metric, by int64) error {
	name, err := e.metric(m)
	if err == nil && (e.kinds[name] == Histogram || e.kinds[name] == Counter && by <= 0) {
		err = fmt.Errorf("add %d to %s", by, name)
	}
	if err != nil {
		return err
	}
	e.values[name] += by
	return nil
}

func (e *edge) Record(m Metric, value uint64) error {
	name, err := e.metric(m)
	switch {
	case err != nil:
		return err
	case e.kinds[name] == Histogram:
		e.records[name] = append(e.records[name], value)
	default:
		e.values[name] = int64(value)
	}
	return nil
}

func (e *edge) Value(m Metric) (uint64, error) {
	name, err := e.metric(m)
	return uint64(e.values[name]), err
}
