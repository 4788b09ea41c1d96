//go:build !wasip1

package session

import (
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
	same func(context uint32) bool // SameRequest
	*edge
	worker    *Worker
	period    uint32               // of ticks; 0: none
	live      map[uint32]*exchange // that Envoy knows
	defined   map[string]int       // metrics, how often
	callback  string               // the one that is running
	effective *exchange
	own       *exchange   // that the running callback is about
	silent    bool        // etcd: it does not answer; else it cannot be reached
	called    uint32      // calls of gRPC so far
	acted     []*exchange // reset or resumed by the running callback
	entered   func()      // is called in Enter, if it is not nil
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
	h.callback, h.effective, h.own, h.acted = name, x, x, nil
	callback()
	h.callback, h.effective, h.own = "", nil, nil
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
		case held, paused, leaving, parted:
			timers++
		case open:
			if s.rule.MaxLifetime > 0 || s.rule.IdleTimeout > 0 {
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
