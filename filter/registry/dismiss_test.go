package registry

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// An operator ends all streams of one client, on every worker, and no stream of another client.
func TestDismiss(t *testing.T) {
	for _, test := range []struct {
		name     string
		operator func(w *world, a, b *thread) *thread
	}{
		{"through a worker that holds one", func(_ *world, a, _ *thread) *thread { return a }},
		{"through a plugin context without streams", func(w *world, _, _ *thread) *thread { return w.thread() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld().small(0)
			w.limits.MaxStreams = 3
			a, b := w.thread(), w.thread()
			streams := []*stream{a.open("alice"), b.open("alice/B"), a.open("alice")}
			others := []*stream{a.open("bob"), b.open("carol")}
			operator := test.operator(w, a, b)
			joined := operator.owner
			n, err := operator.dismiss("alice")
			if n != 3 || err != nil {
				t.Fatalf("dismissed %d, %v; want 3", n, err)
			}
			if entries, _ := w.registry(); len(entries) != len(others) || operator.owner != joined {
				t.Fatalf("the registry holds %+v, want bob's and carol's streams; the operator's worker is %+v, was %+v", entries, operator.owner, joined)
			}
			if n := w.meter.active[a.table.Rule("events")]; n != len(others) {
				t.Errorf("the gauge says %d, want %d", n, len(others))
			}
			if n, err := operator.dismiss("alice"); n != 0 || err != nil {
				t.Errorf("dismissed %d once more, %v", n, err)
			}
			w.deliver(t)
			expect(t, dismissed, streams...)
			expect(t, alive, others...)
			for _, s := range streams {
				if s.held || s.handle.Why() != ByOperator {
					t.Errorf("stream %d: held %v, why %d", s.handle.Context, s.held, s.handle.Why())
				}
			}
			again := b.open("alice") // the client may come back
			w.settle(t)
			expect(t, alive, again)
			if n := w.meter.counts[Swept] + w.meter.counts[LostWakeup]; n != 0 {
				t.Errorf("%d counted as swept or lost", n)
			}
		})
	}
}

// With the client's streams go its superseded instances and its spent tokens.
func TestDismissForgetsTheClient(t *testing.T) {
	w := newWorld()
	w.limits.TakeoverLimit = policy.TokenBucket{MaxTokens: 1, TokensPerFill: 1, FillInterval: 1e12}
	a := w.thread()
	a.open("alice/A")
	a.open("alice/B")
	w.deliver(t)
	if _, err := a.dismiss("alice"); err != nil {
		t.Fatal(err)
	}
	expect(t, alive, a.open("alice/A"), a.open("alice/C"))
	w.deliver(t)
	w.settle(t)
}

// A rule that only observes ends nothing, but an operator does.
func TestDismissInObserveMode(t *testing.T) {
	w := newWorld()
	w.enforce = false
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	second := b.open("alice")
	w.deliver(t)
	expect(t, alive, first, second)
	if n, err := a.dismiss("alice"); n != 1 || err != nil { // the first stream is superseded, and has no place to be dismissed from
		t.Fatalf("dismissed %d, %v; want 1", n, err)
	}
	w.deliver(t)
	expect(t, alive, first)
	expect(t, dismissed, second)
	w.settle(t)
}

// Dismiss removes orphans, but does not count them as dismissed.
func TestDismissDoesNotCountOrphans(t *testing.T) {
	w := newWorld()
	w.limits.MaxStreams = 3
	a, b := w.thread(), w.thread()
	a.open("alice")
	live := b.open("alice")
	a.open("alice")
	a.crash()
	a.fence()
	operator := w.thread()
	if n, err := operator.dismiss("alice"); n != 1 || err != nil {
		t.Fatalf("dismissed %d, %v; want 1", n, err)
	}
	if n := w.meter.counts[Swept]; n != 2 {
		t.Errorf("%d counted as swept, want 2", n)
	}
	w.deliver(t)
	expect(t, dismissed, live)
	w.settle(t)
}

// A worker stalls, and its streams are swept. An operator dismisses their client then, and finds
// none. They do not come back with the worker, and a newer stream lives on. A token that the client
// has spent stays spent.
func TestDismissOfSweptStreams(t *testing.T) {
	w := newWorld().small(0)
	w.limits = policy.Limits{MaxStreams: 2, TakeoverLimit: policy.TokenBucket{MaxTokens: 1, TokensPerFill: 1, FillInterval: policy.Hour}}
	a, b := w.thread(), w.thread()
	streams := []*stream{a.open("alice"), a.open("alice"), a.open("alice")} // the third spends the token
	w.deliver(t)
	other := a.open("bob")
	b.open("carol")
	w.ticks(t, 1)
	a.fence()
	if _, err := b.tick(); err != nil { // removes the orphans
		t.Fatal(err)
	}
	if n, err := b.dismiss("alice"); n != 0 || err != nil {
		t.Fatalf("dismissed %d, %v; want none, as none is in the registry", n, err)
	}
	newer := b.open("alice")
	w.settle(t)
	expect(t, endedByMessage, streams[0])
	expect(t, dismissed, streams[1:]...)
	expect(t, alive, other, newer, b.open("alice"))
	expect(t, refusedAtClaim, b.open("alice"))
	w.settle(t)
}

// What was never there is not remembered.
func TestDismissInAnEmptyBucket(t *testing.T) {
	w := newWorld()
	a := w.thread()
	if n, err := a.dismiss("alice"); n != 0 || err != nil {
		t.Fatalf("dismissed %d, %v", n, err)
	}
	for key := range w.envoy.data {
		if isBucketKey(key) {
			t.Errorf("%s is written", key)
		}
	}
}

// If the store fails, nothing is dismissed, and the error says why.
func TestDismissThatFails(t *testing.T) {
	for _, fault := range bucketFaults {
		t.Run(fault.name, func(t *testing.T) {
			w := newWorld()
			a := w.thread()
			s := a.open("alice")
			operator := w.thread()
			operator.port.before = fault.before
			if n, err := operator.dismiss("alice"); n != 0 || !errors.Is(err, fault.want) {
				t.Fatalf("dismissed %d, %v; want %v", n, err, fault.want)
			}
			operator.port.before = nil
			w.settle(t)
			expect(t, alive, s)
		})
	}
}

// The client hangs up between the operator's read and write.
func TestReleaseDuringADismiss(t *testing.T) {
	w := newWorld()
	w.limits.MaxStreams = 2
	a, operator := w.thread(), w.thread()
	first, second := a.open("alice"), a.open("alice")
	operator.port.before = once(func(c call) bool { return c.name == "set" && isBucket(c) }, func() { a.close(first) })
	if n, err := operator.dismiss("alice"); n != 1 || err != nil || !first.held {
		t.Fatalf("dismissed %d, %v; the first held %v", n, err, first.held)
	}
	w.deliver(t)
	expect(t, dismissed, second)

	third := a.open("alice")
	operator.port.before = once(func(c call) bool { return c.name == "set" && isBucket(c) }, func() { a.close(third) })
	if n, err := operator.dismiss("alice"); n != 0 || err != nil || !third.held {
		t.Fatalf("dismissed %d, %v; the third held %v", n, err, third.held)
	}
	w.settle(t)
}

// A dismissed stream whose message is lost ends at its worker's second look.
func TestDismissMessageIsLost(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	s := a.open("alice")
	b.open("bob")
	if n, err := b.dismiss("alice"); n != 1 || err != nil {
		t.Fatalf("dismissed %d, %v", n, err)
	}
	w.loseMessages(a)
	w.ticks(t, 2)
	expect(t, endedByCheck, s)
	w.settle(t)
}

func TestRecall(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	s, other := a.open("alice"), a.open("bob")
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	if err := a.Recall(w.now, &s.handle); err != nil {
		t.Fatal(err)
	}
	if n := len(w.envoy.wakeups[b.port.listener]); n != 0 {
		t.Errorf("another worker is woken %d times, want 0", n)
	}
	recalled, err := a.Wake(w.now, a.queue)
	if err != nil || !slices.Equal(recalled.End, []*Stream{&s.handle}) || s.handle.Why() != 0 {
		t.Fatalf("recalled %v, %v, why %d; want the stream, which the registry does not want ended", recalled, err, s.handle.Why())
	}
	if again, err := a.Wake(w.now, a.queue); len(again.End) != 0 || err != nil {
		t.Fatalf("recalled once more: %v, %v", again, err)
	}
	if entries, _ := w.registry(); len(entries) != 2 || w.meter.counts[LostWakeup] != 0 {
		t.Fatalf("a recall changed the registry: %+v", entries)
	}
	w.settle(t)
	expect(t, alive, s, other)
}

// If the wake-up is lost, a tick finds the recall. It is not counted as a lost wake-up: no stream
// has lost its place.
func TestRecallWithoutAWakeup(t *testing.T) {
	w := newWorld()
	a := w.thread()
	s := a.open("alice")
	if err := a.Recall(w.now, &s.handle); err != nil {
		t.Fatal(err)
	}
	w.loseWakeups(a)
	w.now += 1000
	found, err := a.Tick(w.now)
	if err != nil || !slices.Equal(found.End, []*Stream{&s.handle}) || s.handle.Why() != 0 {
		t.Fatalf("tick found %+v, %v, why %d", found, err, s.handle.Why())
	}
	if n := w.meter.counts[LostWakeup]; n != 0 {
		t.Errorf("%d lost wake-ups", n)
	}
	w.settle(t)
}

// A stream that is recalled and superseded is named once, and Why tells the reason.
func TestRecalledAndSuperseded(t *testing.T) {
	for _, test := range []struct {
		name   string
		before bool
		next   func(*thread) (Done, error)
	}{
		{"recalled first, woken", true, func(a *thread) (Done, error) { return a.Wake(a.world.now, a.queue) }},
		{"recalled last, woken", false, func(a *thread) (Done, error) { return a.Wake(a.world.now, a.queue) }},
		{"by a tick", true, func(a *thread) (Done, error) { return a.Tick(a.world.now) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			a, b := w.thread(), w.thread()
			s := a.open("alice")
			recall := func() {
				for range 2 {
					if err := a.Recall(w.now, &s.handle); err != nil {
						t.Fatal(err)
					}
				}
			}
			if test.before {
				recall()
			}
			b.open("alice")
			if !test.before {
				recall()
			}
			done, err := test.next(a)
			if err != nil || !slices.Equal(done.End, []*Stream{&s.handle}) || s.handle.Why() != BySuccessor {
				t.Fatalf("to end: %v, %v, why %d; want the stream once", done, err, s.handle.Why())
			}
			a.did(done)
			w.settle(t)
		})
	}
}

// A stream that has ended is not recalled, nor is a later stream with the same context id.
func TestRecalledAndReleased(t *testing.T) {
	w := newWorld()
	a := w.thread()
	s := a.open("alice")
	if err := a.Recall(w.now, &s.handle); err != nil {
		t.Fatal(err)
	}
	a.close(s)
	next := Stream{Client: s.handle.Client, Rule: s.handle.Rule, Limits: w.limitsNow(), Context: s.handle.Context}
	if _, err := a.Claim(w.now, &next); err != nil {
		t.Fatal(err)
	}
	if recalled, err := a.Wake(w.now, a.queue); len(recalled.End) != 0 || err != nil {
		t.Fatalf("recalled %v, %v", recalled, err)
	}
}

// If the message cannot be sent, Recall returns the error.
func TestRecallThatFails(t *testing.T) {
	w := newWorld()
	a := w.thread()
	s := a.open("alice")
	a.port.before = func(c call) error {
		if c.name == "enqueue" {
			return errBroken
		}
		return nil
	}
	if err := a.Recall(w.now, &s.handle); !errors.Is(err, errBroken) {
		t.Fatalf("recall: %v", err)
	}
}

// A worker that holds no slot sees who does.
func TestWorkers(t *testing.T) {
	w := newWorld()
	a, b, c := w.thread(), w.thread(), w.thread()
	a.open("alice")
	a.open("bob")
	b.open("carol")
	c.open("dave")
	w.ticks(t, 1)
	b.fence()
	visitor := w.thread()
	if err := visitor.Open(); err != nil {
		t.Fatal(err)
	}
	held, err := visitor.Workers()
	want := []Slot{
		{Number: 0, Record: Record{Incarnation: a.owner.Incarnation, Queue: a.queue, Heartbeat: 2, BeatAt: w.now, Live: 2}},
		{Number: 2, Record: Record{Incarnation: c.owner.Incarnation, Queue: c.queue, Heartbeat: 2, BeatAt: w.now, Live: 1}},
	}
	if err != nil || !reflect.DeepEqual(held, want) {
		t.Fatalf("workers %+v, %v; want %+v", held, err, want)
	}
	if visitor.owner.Incarnation != 0 || visitor.table != a.table {
		t.Errorf("the worker that asked holds slot %+v, want none, and has the table %+v, want %+v", visitor.owner, visitor.table, a.table)
	}
	visitor.port.before = func(c call) error {
		if c.on == slotKey(2) {
			return errBroken
		}
		return nil
	}
	if _, err := visitor.Workers(); !errors.Is(err, errBroken) {
		t.Errorf("a slot that cannot be read: %v, want %v", err, errBroken)
	}
	visitor.port.before = nil
	w.settle(t)
}
