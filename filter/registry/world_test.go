package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// world is one Envoy: the shared store, its worker threads, and every stream that was ever opened. New streams are
// opened under the rule, limits and mode that the world has at that time.
type world struct {
	envoy   *envoy
	meter   *meter
	now     int64
	rule    string
	limits  policy.Limits
	enforce bool
	threads []*thread

	mu     sync.Mutex     // of what follows: threads may run at the same time
	opened []*stream      // by Context-1
	rank   map[uint32]int // by Context: the order in which claims first reached the store
	lives  uint64         // numbers for Worker's random source
	broken error          // the first thing that a worker did and must not
}

// thread is one worker thread with one plugin context.
type thread struct {
	*Worker
	world   *world
	port    *port
	crashed bool
}

// stream is an event stream as Envoy and its client see it.
type stream struct {
	handle Stream
	client string
	on     *thread
	fate   fate
	held   bool  // what Release said
	err    error // of the last Claim or Release
}

type fate string

const (
	alive   fate = "alive"
	closed  fate = "closed by the client"
	told    fate = "ended by a message"
	foundBy fate = "ended by the self-check"
	cut     fate = "cut by its worker's crash"
)

func newWorld() *world {
	w := &world{
		envoy: newEnvoy(), meter: &meter{active: map[RuleID]int{}, counts: map[Event]int{}},
		now: 1_700_000_000_000, rule: "events", limits: policy.Limits{MaxStreams: 1}, enforce: true, rank: map[uint32]int{},
	}
	w.envoy.onWrite = w.rankClaims
	return w
}

// small makes a table of 1<<bits buckets, so that a few ticks see all of it. It comes before the first worker.
func (w *world) small(bits uint8) *world {
	w.envoy.write(tableKey, Table{Bits: bits, Seed: [16]byte{1}}.Append(nil))
	return w
}

// thread starts a worker thread, which joins when it first has to.
func (w *world) thread() *thread {
	t := &thread{world: w, port: &port{envoy: w.envoy, listener: len(w.threads)}}
	t.Worker = NewWorker(t.port, t.port, w.meter, w.random)
	w.threads = append(w.threads, t)
	return t
}

func (w *world) random() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives++
	return w.lives*1000 + 1
}

// rankClaims notes in which order claims arrive: a context id not seen before is a new claim. It goes by what is
// written and not by the claim numbers, which are what is to be tested.
func (w *world) rankClaims(key string, _, value []byte) {
	if !strings.HasPrefix(key, keyPrefix+"b/") {
		return
	}
	b, err := ParseBucket(value)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range b.Entries {
		for _, s := range e.Streams {
			if _, seen := w.rank[s.Context]; !seen {
				w.rank[s.Context] = len(w.rank) + 1
			}
		}
	}
}

func (t *thread) newStream(client string) *stream {
	w := t.world
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &stream{client: client, on: t, fate: alive}
	s.handle = Stream{
		Client: t.table.Client(w.rule, []byte(client)), Rule: t.table.Rule(w.rule),
		Limits: w.limits, Enforce: w.enforce, Context: uint32(len(w.opened) + 1),
	}
	w.opened = append(w.opened, s)
	return s
}

// open is a client's event stream that arrives on this thread and is claimed.
func (t *thread) open(client string) *stream {
	if t.table == (Table{}) { // without it there is no hash of the client
		// Swept in the middle of it: Claim joins again. Scenarios of a first Join that fails call it themselves.
		if err := t.Join(); err != nil && !errors.Is(err, errSwept) {
			panic(fmt.Sprintf("join: %v", err))
		}
	}
	s := t.newStream(client)
	_, s.err = t.Claim(t.world.now, &s.handle)
	return s
}

// close is a client that goes away.
func (t *thread) close(s *stream) {
	s.fate = closed
	s.held, s.err = t.Release(&s.handle)
}

// end resets the streams, as the filter does when the registry says so.
func (t *thread) end(streams []*Stream, why fate) {
	for _, handle := range streams {
		t.world.mu.Lock()
		s := t.world.opened[handle.Context-1]
		if (s.fate != alive || s.on != t) && t.world.broken == nil {
			t.world.broken = fmt.Errorf("stream %d of %s, %s, was to be ended", handle.Context, s.client, s.fate)
		}
		t.world.mu.Unlock()
		s.fate = why
		s.held, s.err = t.Release(handle)
	}
}

// wake delivers the wake-ups that are due on this thread.
func (t *thread) wake() error {
	for _, token := range t.world.envoy.takeWakeups(t.port.listener) {
		streams, err := t.Wake(token)
		t.end(streams, told)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *thread) tick() (Ticked, error) {
	found, err := t.Tick(t.world.now)
	t.end(found.Superseded, told)
	t.end(found.Lost, foundBy)
	return found, err
}

// crash ends the thread's VM: no code is left to run, and Envoy cuts its streams.
func (t *thread) crash() {
	t.crashed = true
	for _, s := range t.world.opened {
		if s.on == t && s.fate == alive {
			s.fate = cut
		}
	}
}

// fence frees the thread's slot under its feet, as an observer does that takes it for dead.
func (t *thread) fence() { t.world.envoy.write(slotKey(t.owner.Slot), Record{}.Append(nil)) }

// deliver wakes every thread until nobody has anything to wake up for.
func (w *world) deliver(t testing.TB) {
	t.Helper()
	for _, th := range w.threads {
		if th.crashed {
			w.envoy.takeWakeups(th.port.listener)
		} else if err := th.wake(); err != nil {
			t.Fatalf("wake: %v", err)
		}
	}
}

// ticks lets every thread tick n times, in turn, and delivers what that sends.
func (w *world) ticks(t testing.TB, n int) {
	t.Helper()
	for range n {
		w.now += 1000
		for _, th := range w.threads {
			if th.crashed {
				continue
			}
			if _, err := th.tick(); err != nil {
				t.Fatalf("tick: %v", err)
			}
		}
		w.deliver(t)
	}
}

// settle lets time pass without further faults, until whatever went wrong must have been put right, and checks that
// it has. The table must be small enough for a few ticks to see all of it.
func (w *world) settle(t testing.TB) {
	t.Helper()
	w.deliver(t)
	w.ticks(t, 2*missedTicks+4)
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
}

// registered is a stream as it stands in the store.
type registered struct {
	client ClientID
	rule   RuleID
	policy.Stream
}

// registry reads all that the store holds.
func (w *world) registry() (all []registered, err error) {
	for key, d := range w.envoy.data {
		if !strings.HasPrefix(key, keyPrefix+"b/") {
			continue
		}
		b, err := ParseBucket(d.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		for _, e := range b.Entries {
			for _, s := range e.Streams {
				all = append(all, registered{e.Client, e.Rule, s})
			}
		}
	}
	slices.SortFunc(all, func(a, b registered) int { return cmp.Compare(a.Context, b.Context) })
	return all, nil
}

// meter adds up what the workers report.
type meter struct {
	mu     sync.Mutex
	active map[RuleID]int
	counts map[Event]int
}

func (m *meter) Active(rule RuleID, delta int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.active[rule] += delta
}

func (m *meter) Count(event Event, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[event] += n
}
