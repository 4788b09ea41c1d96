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
	total   int // limit on all streams together, of threads that are started from then on
	threads []*thread

	mu     sync.Mutex        // of what follows: threads may run at the same time
	opened []*stream         // by Context-1
	rank   map[uint32]int    // by Context: the order in which claims first reached the store
	rid    map[ClientID]bool // clients that an operator has dismissed
	swept  bool              // a live worker may have been taken for dead
	lives  uint64            // numbers for Worker's random source
	broken error             // the first thing that a worker did and must not
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
	handle  Stream
	client  string
	on      *thread
	fate    fate
	verdict policy.Verdict // of Claim
	held    bool           // what Release said, or a tick after it
	err     error          // of the last Claim or Release
}

type fate string

const (
	alive   fate = "alive"
	closed  fate = "closed by the client"
	told    fate = "ended by a message"
	foundBy fate = "ended by the self-check"
	cut     fate = "cut by its worker's crash"

	dismissed  fate = "ended by an operator"
	refused    fate = "refused by a tick"
	turnedAway fate = "refused by its claim"
)

func newWorld() *world {
	w := &world{
		envoy: newEnvoy(), meter: &meter{active: map[RuleID]int{}, counts: map[Event]int{}},
		now: 1_700_000_000_000, rule: "events", limits: policy.Limits{MaxStreams: 1}, enforce: true, rank: map[uint32]int{}, rid: map[ClientID]bool{},
	}
	w.envoy.onWrite = func(key string, before, now []byte) {
		w.rankClaims(key, before, now)
		if isBucketKey(key) {
			w.checkTotal()
		}
	}
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
	t.LimitTotal(w.total)
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
	if !isBucketKey(key) {
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

// newStream is a stream that arrives. A client's name may have an instance's after it, a letter: "alice/A".
func (t *thread) newStream(client string) *stream {
	w := t.world
	w.mu.Lock()
	defer w.mu.Unlock()
	client, page, _ := strings.Cut(client, "/")
	var instance policy.Instance
	if page != "" {
		instance = policy.Instance(page[0])
	}
	s := &stream{client: client, on: t, fate: alive}
	s.handle = Stream{
		Client: t.table.Client(w.rule, []byte(client)), Rule: t.table.Rule(w.rule), Instance: instance,
		Limits: w.limits, Enforce: w.enforce, Context: uint32(len(w.opened) + 1),
	}
	w.opened = append(w.opened, s)
	return s
}

// open is a client's event stream that arrives on this thread and is claimed.
func (t *thread) open(client string) *stream {
	if t.table == (Table{}) { // without it there is no hash of the client
		// Swept in the middle of it: Claim joins again. Scenarios of a first Join that fails call it themselves.
		if err := t.Join(t.world.now); err != nil && !errors.Is(err, errSwept) {
			panic(fmt.Sprintf("join: %v", err))
		}
	}
	s := t.newStream(client)
	s.err = t.claim(s)
	return s
}

func (t *thread) claim(s *stream) (err error) {
	s.verdict, err = t.Claim(t.world.now, &s.handle)
	if s.verdict.Refusal != 0 {
		s.fate = turnedAway
	}
	return err
}

// close is a client that goes away.
func (t *thread) close(s *stream) {
	s.fate = closed
	s.held, s.err = t.Release(&s.handle)
}

// end resets the streams, as the filter does when the registry says so.
func (t *thread) end(streams []*Stream) {
	for _, handle := range streams {
		t.world.mu.Lock()
		s := t.world.opened[handle.Context-1]
		if s.fate != alive || s.on != t {
			t.world.breaks("stream %d of %s, %s, was to be ended", handle.Context, s.client, s.fate)
		}
		t.world.mu.Unlock()
		s.fate = map[Why]fate{BySuccessor: told, ByOwnInstance: told, ByLoss: foundBy, ByOperator: dismissed, ByRefusal: refused}[handle.Why()]
		s.held, s.err = t.Release(handle)
	}
}

// wake delivers the wake-ups that are due on this thread.
func (t *thread) wake() error {
	for _, token := range t.world.envoy.takeWakeups(t.port.listener) {
		streams, err := t.Wake(t.world.now, token)
		t.end(streams)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *thread) tick() (Ticked, error) {
	found, err := t.Tick(t.world.now)
	t.end(found.End)
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	for _, handle := range found.Released {
		s := t.world.opened[handle.Context-1]
		if s.held || s.fate == alive || s.on != t {
			t.world.breaks("stream %d of %s, %s, was reported as released by a tick", handle.Context, s.client, s.fate)
		}
		s.held = true
	}
	return found, err
}

// dismiss is an operator who ends all streams of a client through this thread.
func (t *thread) dismiss(client string) (int, error) {
	if err := t.Open(); err != nil {
		return 0, err
	}
	id := t.table.Client(t.world.rule, []byte(client))
	t.world.mu.Lock()
	t.world.rid[id] = true
	t.world.mu.Unlock()
	return t.Dismiss(t.world.now, id)
}

// breaks notes the first thing that a worker did and must not.
func (w *world) breaks(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
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
func (t *thread) fence() {
	t.world.swept = true
	t.world.envoy.write(slotKey(t.owner.Slot), Record{}.Append(nil))
}

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
		if !isBucketKey(key) {
			continue
		}
		b, err := ParseBucket(d.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		for _, e := range b.Entries {
			for _, s := range e.Streams {
				all = append(all, registered{e.ID, e.Rule, s})
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
