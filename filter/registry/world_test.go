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

// world is one Envoy: the shared store, its worker threads, and every stream that was ever opened.
// A new stream gets the rule, the limits and the mode that the world has at that time.
type world struct {
	envoy   *envoy
	meter   *meter
	now     int64
	rule    string
	limits  policy.Limits
	enforce bool
	total   int // max_total_streams of the threads that are started after it is set
	threads []*thread

	mu               sync.Mutex        // guards the fields below: threads may run at the same time
	opened           []*stream         // by Context-1
	rank             map[uint32]int    // by Context: the order in which the streams reached the store
	dismissedClients map[ClientID]bool // clients that an operator has dismissed
	mustEnd          []*stream         // those of them that were in the store before
	swept            bool              // a live worker may have been declared dead
	lastRandom       uint64            // of the Workers' random source
	broken           error             // the first thing that a worker did and must not do
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
	held    bool           // as reported by Release, or by a tick after it
	err     error          // of the last Claim or Release
}

// fate is what has become of a stream.
type fate string

const (
	alive          fate = "alive"
	closed         fate = "closed by the client"
	endedByMessage fate = "ended by a message"
	endedByCheck   fate = "ended by the self-check"
	cutByCrash     fate = "cut by its worker's crash"

	dismissed      fate = "ended by an operator"
	refusedByTick  fate = "refused by a tick"
	refusedAtClaim fate = "refused by its claim"
	unanswered     fate = "answered by no backend"
)

func newWorld() *world {
	w := &world{
		envoy: newEnvoy(), meter: &meter{active: map[RuleID]int{}, counts: map[Event]int{}},
		now: 1_700_000_000_000, rule: "events", limits: policy.Limits{MaxStreams: 1}, enforce: true, rank: map[uint32]int{}, dismissedClients: map[ClientID]bool{},
	}
	w.envoy.onWrite = func(key string, before, now []byte) {
		w.rankClaims(key, before, now)
		if isBucketKey(key) {
			w.checkTotal()
		}
	}
	return w
}

// small makes a table of 1<<bits buckets, so a few ticks can search all of it. Call it before the
// first worker joins.
func (w *world) small(bits uint8) *world {
	w.envoy.write(tableKey, Table{Bits: bits, Seed: [16]byte{1}}.Append(nil))
	return w
}

// thread starts a worker thread. It joins with its first stream.
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
	w.lastRandom++
	return w.lastRandom*1000 + 1
}

// limitsNow returns a copy of the limits for one stream: tests change them.
func (w *world) limitsNow() *policy.Limits {
	limits := w.limits
	return &limits
}

// mine returns the worker's streams.
func (t *thread) mine() (all []*Stream) {
	for n := range uint32(len(t.own)) {
		for s := t.first(n); s != nil; s = s.next {
			all = append(all, s)
		}
	}
	return all
}

// rankClaims notes the order in which streams reach the store. It recognises a new stream by its
// context id, and not by its claim number: claim numbers are what the tests check.
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

// newStream is a stream that arrives. The client's name may end in a slash and a letter, which
// names an instance: "alice/A".
func (t *thread) newStream(client string) *stream {
	w := t.world
	w.mu.Lock()
	defer w.mu.Unlock()
	client, letter, _ := strings.Cut(client, "/")
	var instance policy.Instance
	if letter != "" {
		instance = policy.Instance(letter[0])
	}
	s := &stream{client: client, on: t, fate: alive}
	s.handle = Stream{
		Client: t.table.Client(w.rule, []byte(client)), Rule: t.table.Rule(w.rule), Instance: instance,
		Limits: w.limitsNow(), Enforce: w.enforce, Context: uint32(len(w.opened) + 1),
	}
	w.opened = append(w.opened, s)
	return s
}

// open is a client's event stream that arrives on this thread and is claimed.
func (t *thread) open(client string) *stream {
	if t.table == (Table{}) { // without it there is no hash of the client
		// If the worker is swept while it joins, Claim joins again. Tests of other failures
		// call Join themselves.
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
		s.fate = refusedAtClaim
	}
	return err
}

// close is the stream's client hanging up.
func (t *thread) close(s *stream) {
	s.fate = closed
	s.held, s.err = t.Release(&s.handle)
}

// end resets the streams that the registry wants ended, as the filter does.
func (t *thread) end(streams []*Stream) {
	for _, handle := range streams {
		t.world.mu.Lock()
		s := t.world.opened[handle.Context-1]
		if s.fate != alive || s.on != t {
			t.world.breaks("the registry ends stream %d of %s, which is not a live stream of this worker: it is %s", handle.Context, s.client, s.fate)
		}
		t.world.mu.Unlock()
		s.fate = map[Why]fate{BySuccessor: endedByMessage, ByOwnInstance: endedByMessage, ByLoss: endedByCheck, ByOperator: dismissed, ByRefusal: refusedByTick}[handle.Why()]
		s.held, s.err = t.Release(handle)
	}
}

// wake delivers the wake-ups of this thread.
func (t *thread) wake() error {
	for _, token := range t.world.envoy.takeWakeups(t.port.listener) {
		done, err := t.Wake(t.world.now, token)
		t.did(done)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *thread) tick() (Done, error) {
	done, err := t.Tick(t.world.now)
	t.did(done)
	return done, err
}

// did carries out what a tick or a wake-up has found.
func (t *thread) did(done Done) {
	t.end(done.End)
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	for _, handle := range done.Released {
		s := t.world.opened[handle.Context-1]
		if s.held || s.fate == alive || s.on != t {
			t.world.breaks("a tick reports stream %d of %s as released, but it is %s, held %v", handle.Context, s.client, s.fate, s.held)
		}
		s.held = true
	}
}

// dismiss is an operator who ends all streams of a client through this thread. Those that have
// reached the store before must end, whatever becomes of their worker; except that in a rule that
// observes, a superseded one goes on.
func (t *thread) dismiss(client string) (int, error) {
	if err := t.Open(); err != nil {
		return 0, err
	}
	id := t.table.Client(t.world.rule, []byte(client))
	t.world.mu.Lock()
	t.world.dismissedClients[id] = true
	var known []*stream
	for _, s := range t.world.opened {
		if s.handle.Client == id && s.handle.Enforce && t.world.rank[s.handle.Context] > 0 {
			known = append(known, s)
		}
	}
	t.world.mu.Unlock()
	n, err := t.Dismiss(t.world.now, id, t.table.Rule(t.world.rule))
	if err == nil {
		t.world.mu.Lock()
		t.world.mustEnd = append(t.world.mustEnd, known...)
		t.world.mu.Unlock()
	}
	return n, err
}

// breaks notes the first thing that a worker did and must not do.
func (w *world) breaks(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

// crash ends the thread's VM: it makes no more calls, and Envoy cuts its streams.
func (t *thread) crash() {
	t.crashed = true
	for _, s := range t.world.opened {
		if s.on == t && s.fate == alive {
			s.fate = cutByCrash
		}
	}
}

// fence frees the thread's slot, as another worker does that has declared it dead. Nobody removes
// its streams yet.
func (t *thread) fence() {
	t.world.swept = true
	t.world.envoy.write(slotKey(t.owner.Slot), Record{}.Append(nil))
}

// deliver wakes every thread once, in turn. A wake-up for a thread that has had its turn is left to
// the next call.
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

// ticks lets every thread tick n times, in turn, and delivers the messages after each round.
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

// settle lets time pass without new faults until the workers must have repaired everything, and
// then checks the registry's promises. The table should be small enough for these ticks to search
// all of it.
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

// registry returns all streams that are in the store, by context id.
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
