package registry

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func clientName(i int) string { return fmt.Sprintf("client-%d", i) }

// tickCalls returns how many calls to the store and to queues one tick makes.
func (t *thread) tickCalls(tb testing.TB, want error) int {
	tb.Helper()
	before, failed := t.world.envoy.calls, 0
	inner := t.port.before
	t.port.before = func(c call) error {
		if inner != nil {
			if err := inner(c); err != nil {
				failed++
				return err
			}
		}
		return nil
	}
	defer func() { t.port.before = inner }()
	if _, err := t.tick(); !errors.Is(err, want) {
		tb.Fatalf("tick: %v, want %v", err, want)
	}
	return t.world.envoy.calls - before + failed
}

// A tick makes a bounded number of calls, however many streams the worker has.
func TestTickIsBounded(t *testing.T) {
	const fixed = 10 // the own slot, the queue, and the slots of two workers
	for _, test := range []struct {
		name string
		now  func(w *world, a, b *thread)
		most int
		want error
	}{
		{"nothing to do", func(*world, *thread, *thread) {}, fixed + checksPerTick + visitsPerTick, nil},
		{"put back after a false sweep", func(_ *world, a, _ *thread) { a.fence() },
			fixed + 3*(checksPerTick+visitsPerCall), nil}, // read the bucket, read a slot of an old name, write the bucket
		{"another worker died", func(_ *world, a, b *thread) {
			if _, _, err := a.readSlot(b.owner.Slot); err != nil {
				panic(err)
			}
			a.peers[b.owner.Slot].looks = missedTicks
		}, fixed + checksPerTick + 2*visitsPerCall + 10_000, nil}, // and one read of the slot for every orphan
		{"everything contended", func(_ *world, a, _ *thread) {
			a.fence()
			a.port.before = failing("set", ErrCasMismatch)
		}, fixed + (checksPerTick+visitsPerCall)*3*casAttempts, ErrContended},
	} {
		t.Run(test.name, func(t *testing.T) {
			var calls []int
			for _, streams := range []int{10_000, 20_000} {
				w := newWorld()
				a, b := w.thread(), w.thread()
				for i := range streams {
					a.open(clientName(i))
				}
				for i := range 1000 {
					b.open("b" + clientName(i))
				}
				test.now(w, a, b)
				calls = append(calls, a.tickCalls(t, test.want))
			}
			if calls[0] > test.most || calls[1] > test.most {
				t.Errorf("a tick with 10,000 and 20,000 streams makes %v calls, want at most %d", calls, test.most)
			}
			if calls[0] < checksPerTick {
				t.Errorf("a tick with 10,000 streams makes %d calls, want at least one for each bucket it visits: are calls counted?", calls[0])
			}
		})
	}
}

// A queue that fills as fast as it is read does not hold a worker for ever. What is left is read by
// the next Wake.
func TestWakeIsBounded(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	for range readPerCall {
		if err := b.port.Enqueue(a.queue, Message{Kind: Yield}.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	b.open("alice")
	reads := 0
	a.port.before = func(c call) error {
		if reads++; reads > 2*readPerCall {
			return errBroken
		}
		return b.port.Enqueue(a.queue, Message{Kind: Yield}.Append(nil))
	}
	for range 2 {
		done, err := a.Wake(w.now, a.queue)
		if err != nil {
			t.Fatalf("wake: %v", err)
		}
		a.port.before = nil
		a.did(done)
	}
	expect(t, endedByMessage, first)
}

// A worker that stalled finds thousands of its streams superseded at once. Wake-ups tell it to end
// them in batches, or ticks if the wake-ups were lost. None is forgotten.
func TestEndsAreBounded(t *testing.T) {
	const streams = 2*EndsPerCall + 10
	for name, next := range map[string]func(*thread) (Done, error){
		"by wake-ups": func(a *thread) (Done, error) { return a.Wake(a.world.now, a.queue) },
		"by ticks":    func(a *thread) (Done, error) { return a.Tick(a.world.now) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			a, b := w.thread(), w.thread()
			for i := range streams {
				a.open(clientName(i))
			}
			for i := range streams {
				b.open(clientName(i))
			}
			var batches []int
			for range 3 {
				done, err := next(a)
				if err != nil {
					t.Fatal(err)
				}
				batches = append(batches, len(done.End))
			}
			if want := []int{EndsPerCall, EndsPerCall, 10}; !slices.Equal(batches, want) {
				t.Errorf("ended in batches of %d, want %d", batches, want)
			}
		})
	}
}

// A queue that cannot be read any more does not make the worker wake itself for ever.
func TestQueueThatBreaks(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	for i := range EndsPerCall + 1 {
		a.open(clientName(i))
		b.open(clientName(i))
	}
	w.envoy.takeWakeups(a.port.listener)
	done, err := a.Wake(w.now, a.queue)
	if err != nil || len(done.End) != EndsPerCall {
		t.Fatalf("%d streams to end, %v", len(done.End), err)
	}
	a.did(done)
	a.port.before = func(c call) error {
		if c.name == "dequeue" {
			return errBroken
		}
		return nil
	}
	if n := len(w.envoy.takeWakeups(a.port.listener)); n != 1 {
		t.Fatalf("the worker wakes itself %d times, want once for the rest of the queue", n)
	}
	if _, err := a.Wake(w.now, a.queue); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	if n := len(w.envoy.takeWakeups(a.port.listener)); n != 0 {
		t.Errorf("the worker wakes itself %d times, want none: its queue is broken", n)
	}
}

// countingStore remembers which keys were written, and nothing else: every key looks absent.
type countingStore map[string]struct{}

func (countingStore) Get(string) ([]byte, uint32, error) { return nil, 0, ErrNotFound }

func (s countingStore) Set(key string, _ []byte, _ uint32) error {
	s[key] = struct{}{}
	return nil
}

// No key can be deleted. A million clients come and go, and the store has one key for each bucket.
func TestKeysAreBounded(t *testing.T) {
	w := newWorld()
	a := w.thread()
	if err := a.Join(w.now); err != nil {
		t.Fatal(err)
	}
	keys := countingStore{}
	a.store = keys
	const clients = 1_000_000
	key := make([]byte, 0, 16)
	for i := range clients {
		key = fmt.Appendf(key[:0], "%d", i)
		s := Stream{Client: a.table.Client("events", key), Limits: w.limitsNow(), Context: 1}
		if _, err := a.Claim(w.now, &s); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Release(&s); err != nil {
			t.Fatal(err)
		}
	}
	if len(keys) != 1<<bucketBits {
		t.Errorf("%d keys written, want one for each of %d buckets", len(keys), 1<<bucketBits)
	}
	for key := range keys {
		if !strings.HasPrefix(key, keyPrefix) {
			t.Errorf("key %q, want the prefix of this version", key)
		}
	}
	if len(a.mine()) != 0 || len(a.unfinished) != 0 {
		t.Errorf("the worker still holds %d streams, %d unfinished", len(a.mine()), len(a.unfinished))
	}
}

// More claims are left over than a tick tries again, and those that it tries fail once more. They
// go to the end of the list, so the next tick gets to the others.
func TestFinishTakesTurns(t *testing.T) {
	const others = 44
	w := newWorld()
	a := w.thread()
	if err := a.Join(w.now); err != nil {
		t.Fatal(err)
	}
	a.port.before = failing("set", ErrCasMismatch)
	contended := map[string]bool{} // the buckets of the streams that the first tick tries
	var later []*stream
	for i := range finishPerCall + others {
		s := a.open(clientName(i))
		if key := bucketKey(a.table.bucket(s.handle.Client)); i < finishPerCall {
			contended[key] = true
		} else if !contended[key] {
			later = append(later, s)
		}
	}
	if len(later) < others/2 {
		t.Fatalf("only %d streams are behind the first batch", len(later))
	}
	a.port.before = func(c call) error {
		if c.name == "set" && contended[c.on] {
			return ErrCasMismatch
		}
		return nil
	}
	for range 2 {
		if _, err := a.tick(); !errors.Is(err, ErrContended) {
			t.Fatalf("tick: %v, want %v", err, ErrContended)
		}
	}
	for _, s := range later {
		if s.handle.State() != Registered {
			t.Errorf("stream %d of %s is %v after two ticks, want it registered", s.handle.Context, s.client, s.handle.State())
		}
	}
	if n := len(a.unfinished); n != finishPerCall+others-len(later) {
		t.Errorf("%d streams are unfinished, want %d", n, finishPerCall+others-len(later))
	}
}

// A bucket holds orphans of several clients and rules next to live streams. A scan counts each
// orphan once, under its own rule, however many races its write loses. A bucket without orphans it
// leaves alone.
func TestScanCountsOrphans(t *testing.T) {
	w := newWorld().small(0) // one bucket
	w.limits.MaxStreams = 3
	a, b := w.thread(), w.thread()
	a.open("alice")
	alive := b.open("alice")
	a.open("alice")
	a.open("carol")
	events := alive.handle.Rule
	w.rule = "stocks"
	stocks := a.open("dave").handle.Rule
	a.fence()
	a.crash()

	writes, races := 0, 2
	b.port.before = func(c call) error {
		if c.name == "set" && isBucket(c) {
			if writes++; writes <= races {
				return ErrCasMismatch
			}
		}
		return nil
	}
	found, err := b.tick()
	if err != nil {
		t.Fatal(err)
	}
	if found.Swept != 4 || w.meter.counts[Swept] != 4 || writes != races+1 {
		t.Errorf("%d orphans are swept, %d counted, with %d writes, want 4, 4 and %d", found.Swept, w.meter.counts[Swept], writes, races+1)
	}
	if n, m := w.meter.active[events], w.meter.active[stocks]; n != 1 || m != 0 {
		t.Errorf("%d and %d streams are active, want 1 and 0", n, m)
	}
	left, err := w.registry()
	if err != nil || len(left) != 1 || left[0].Context != alive.handle.Context {
		t.Errorf("%v is left, error %v, want stream %d of alice", left, err, alive.handle.Context)
	}
	if _, err := b.tick(); err != nil || writes != races+1 {
		t.Errorf("the next tick writes the bucket again, or fails: %v", err)
	}
}

// DESIGN.md's table of bounds has the numbers of this package.
func TestDesignBounds(t *testing.T) {
	page, err := os.ReadFile("../DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	for what, bound := range map[string]int{
		"tries of one compare-and-swap":                               casAttempts,
		"streams that one call ends":                                  EndsPerCall,
		"buckets with own streams visited, a tick":                    checksPerTick,
		"other buckets visited, a tick":                               visitsPerTick,
		"buckets visited in one call, if all are to be visited":       visitsPerCall,
		"claims and releases that one call tries again":               finishPerCall,
		"held slots whose heartbeat a worker looks at, a tick":        watchPerTick,
		"buckets that a worker remembers from peeks":                  peekSlots,
		"own ticks without a heartbeat, after which a worker is dead": missedTicks,
	} {
		_, row, ok := strings.Cut(string(page), "\n| "+what+" | ")
		said := strings.FieldsFunc(row, func(r rune) bool { return r < '0' || r > '9' })
		if !ok || len(said) == 0 || said[0] != strconv.Itoa(bound) {
			t.Errorf("DESIGN.md has no row %q with the bound %d", what, bound)
		}
	}
}
