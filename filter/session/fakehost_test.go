package session

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/registry"
)

// edge is one Envoy: what its workers share, and a clock that moves when a test says so. A test
// fails if a worker breaks the contract of [Host], if a stream is in a state that [Stream.Check]
// forbids, or if one callback acts on more streams than Envoy's stack can carry.
type edge struct {
	t      *testing.T
	now    int64
	level  Level
	random func() uint64                  // counts up; a test may replace it
	fails  func(call, about string) error // set by breaks

	data    map[string]datum
	queues  []queue  // by token-1
	wakeups []uint32 // tokens, under way
	kinds   map[string]Kind
	names   []string // of metrics, by Metric-1
	values  map[string]int64
	records map[string][]uint64 // of histograms
	log     []string            // "level message"
	workers []*fakeHost
	streams uint32 // context ids given so far
}

type datum struct {
	value []byte
	cas   uint32
}

type queue struct {
	name     string
	owner    *fakeHost
	messages [][]byte
}

func newEdge(t *testing.T) *edge {
	e := &edge{t: t, now: 1_000_000, level: Info,
		data: map[string]datum{}, kinds: map[string]Kind{}, values: map[string]int64{}, records: map[string][]uint64{}}
	n := uint64(0)
	e.random = func() uint64 { n += 1000; return n }
	return e
}

// fakeHost is the [Host] of one worker.
type fakeHost struct {
	*edge
	worker    *Worker
	period    uint32               // of ticks; 0: none
	live      map[uint32]*exchange // that Envoy knows
	defined   map[string]int       // metrics, how often
	callback  string               // the one that is running
	effective *exchange
	acted     []*exchange // reset or resumed by the running callback
}

// host is the host of a worker that is to be configured.
func (e *edge) host() *fakeHost {
	h := &fakeHost{edge: e, live: map[uint32]*exchange{}, defined: map[string]int{}}
	h.worker = New(h, "v1")
	return h
}

// worker starts a worker with a configuration, which must be valid.
func (e *edge) worker(config string) *fakeHost {
	e.t.Helper()
	h := e.host()
	if !h.worker.Configure([]byte(config)) {
		e.t.Fatalf("the configuration is refused: %q", e.log)
	}
	e.workers = append(e.workers, h)
	return h
}

// call runs a callback about an exchange, or about none. Then Envoy carries out the resets that the
// callback has asked for.
func (h *fakeHost) call(name string, x *exchange, callback func()) {
	h.t.Helper()
	h.callback, h.effective, h.acted = name, x, nil
	callback()
	h.callback, h.effective = "", nil
	if n := len(h.acted); n > registry.EndsPerCall {
		h.t.Errorf("one %s acts on %d streams, want %d at most", name, n, registry.EndsPerCall)
	}
	if x == nil {
		h.check()
	}
	for _, acted := range h.acted {
		if acted.resets > 0 {
			acted.end(byReset)
		}
	}
}

// check holds the worker's streams to their legal states, and its timers to its streams: a timer
// that nobody needs would keep an ended stream in memory.
func (h *fakeHost) check() {
	h.t.Helper()
	timers := 0
	for _, x := range h.live {
		s := x.stream
		if s == nil {
			continue
		}
		if err := s.Check(); err != nil {
			h.t.Error(err)
		}
		switch s.phase {
		case paused, leaving, parted:
			timers++
		case open:
			if s.expiresAt > 0 || s.rule.IdleTimeout > 0 {
				timers++
			}
		}
	}
	if n := h.worker.due.Len(); n != timers {
		h.t.Errorf("%d timers are set, want %d", n, timers)
	}
}

// tick lets a second pass on this worker alone.
func (h *fakeHost) tick() {
	h.t.Helper()
	h.now += tickPeriodMs
	h.tickNow()
}

func (h *fakeHost) tickNow() { h.t.Helper(); h.call(inTick, nil, h.worker.Tick) }

// advance lets seconds pass: every worker ticks in turn, and then gets its wake-ups.
func (e *edge) advance(seconds int) {
	e.t.Helper()
	for range seconds {
		e.now += tickPeriodMs
		for _, h := range e.workers {
			if h.period > 0 {
				h.tickNow()
			}
		}
		e.run()
	}
}

// run delivers wake-ups until there are none.
func (e *edge) run() {
	e.t.Helper()
	for n := 0; len(e.wakeups) > 0; n++ {
		if n > 100_000 {
			e.t.Fatal("the workers wake each other for ever")
		}
		e.wake()
	}
}

// wake delivers one wake-up.
func (e *edge) wake() {
	e.t.Helper()
	token := e.wakeups[0]
	e.wakeups = e.wakeups[1:]
	h := e.queues[token-1].owner
	h.call(inWake, nil, func() { h.worker.Wake(token) })
}

// loseMessages empties all queues: the owners of superseded streams learn nothing.
func (e *edge) loseMessages() {
	e.wakeups = nil
	for i := range e.queues {
		e.queues[i].messages = nil
	}
}

// counted compares metrics, by their names without the prefix.
func (e *edge) counted(want map[string]int64) {
	e.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, defined := e.kinds[metricPrefix+name]; !defined {
			e.t.Errorf("metric %s is not defined", name)
		}
		if got := e.values[metricPrefix+name]; got != want[name] {
			e.t.Errorf("%s is %d, want %d", name, got, want[name])
		}
	}
}

// lines returns the lines of the log that contain text.
func (e *edge) lines(text string) (found []string) {
	for _, line := range e.log {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// The callbacks, for the contract of Host.
const (
	inRequest  = "request"
	inResponse = "response"
	inBody     = "body"
	inDone     = "done"
	inTick     = "tick"
	inWake     = "wake"
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

func (h *fakeHost) Request() Request   { h.only("Request", inRequest); return h.effective.request }
func (h *fakeHost) Response() Response { h.only("Response", inResponse, inBody); return h.effective }

func (h *fakeHost) Reply(status uint32, headers [][2]string, body []byte) error {
	h.only("Reply", inRequest, inResponse)
	if err := h.failure("reply", ""); err != nil {
		return err
	}
	h.effective.reply = &answer{status, map[string]string{}, string(body)}
	for _, field := range headers {
		h.effective.reply.headers[field[0]] = field[1]
	}
	return nil
}

func (e *edge) Now() int64      { return e.now }
func (e *edge) Random() uint64  { return e.random() }
func (e *edge) LogLevel() Level { return e.level }

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
	h.only("Enter", inTick, inWake)
	h.effective = h.live[context]
	return h.effective != nil
}

func (h *fakeHost) SetReason(reason string) error {
	h.effective.reason = reason
	return h.failure("reason", "")
}

func (h *fakeHost) Reset() error {
	h.only("Reset", inTick, inWake)
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
	h.only("Resume", inTick, inWake)
	x := h.effective
	if x == nil || !x.waits {
		return errors.New("resume of a request that is not paused")
	}
	x.waits = false
	h.acted = append(h.acted, x)
	return nil
}

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
