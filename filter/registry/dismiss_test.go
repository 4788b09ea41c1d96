package registry

import (
	"errors"
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// TestDismiss: an operator ends all streams of one client, whichever workers hold them, and those of no other.
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
				t.Fatalf("the registry holds %+v; the operator is %+v, was %+v", entries, operator.owner, joined)
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
			again := b.open("alice") // dismissed is not banned
			w.settle(t)
			expect(t, alive, again)
			if n := w.meter.counts[Swept] + w.meter.counts[LostWakeup]; n != 0 {
				t.Errorf("%d counted as swept or lost", n)
			}
		})
	}
}

// TestDismissForgets: what the client had lost and spent goes with its streams.
func TestDismissForgets(t *testing.T) {
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

// TestDismissInObserveMode: the rule ends nothing; an operator does.
func TestDismissInObserveMode(t *testing.T) {
	w := newWorld()
	w.enforce = false
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	second := b.open("alice")
	w.deliver(t)
	expect(t, alive, first, second)
	if n, err := a.dismiss("alice"); n != 1 || err != nil { // the first has no place any more
		t.Fatalf("dismissed %d, %v; want 1", n, err)
	}
	w.deliver(t)
	expect(t, alive, first)
	expect(t, dismissed, second)
	w.settle(t)
}

// TestDismissDoesNotCountTheDead: their streams go, and are not anybody's to end.
func TestDismissDoesNotCountTheDead(t *testing.T) {
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

// TestDismissThatFails: nothing is dismissed, and it says so.
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

// TestDismissMeetsARelease: the client hangs up between the operator's look and write.
func TestDismissMeetsARelease(t *testing.T) {
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

// TestDismissedMessageLost: a stream whose message is lost is out all the same, at the second look.
func TestDismissedMessageLost(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	s := a.open("alice")
	b.open("bob")
	if n, err := b.dismiss("alice"); n != 1 || err != nil {
		t.Fatalf("dismissed %d, %v", n, err)
	}
	w.loseMessages(a)
	w.ticks(t, 2)
	expect(t, foundBy, s)
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
		t.Errorf("another worker is woken %d times", n)
	}
	recalled, err := a.Wake(w.now, a.queue)
	if err != nil || !slices.Equal(recalled, []*Stream{&s.handle}) || s.handle.Why() != 0 {
		t.Fatalf("recalled %v, %v, why %d", recalled, err, s.handle.Why())
	}
	if again, err := a.Wake(w.now, a.queue); len(again) != 0 || err != nil {
		t.Fatalf("recalled once more: %v, %v", again, err)
	}
	if entries, _ := w.registry(); len(entries) != 2 || w.meter.counts[LostWakeup] != 0 {
		t.Fatalf("a recall changed the registry: %+v", entries)
	}
	w.settle(t)
	expect(t, alive, s, other)
}

// TestRecallByATick: the wake-up is lost, and the message is not. That is nobody's end, and no lost wake-up of one.
func TestRecallByATick(t *testing.T) {
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

// TestRecalledAndSuperseded: a stream is named once in a call, and its reason is there.
func TestRecalledAndSuperseded(t *testing.T) {
	for _, test := range []struct {
		name   string
		before bool
		next   func(*thread) ([]*Stream, error)
	}{
		{"recalled first, woken", true, func(a *thread) ([]*Stream, error) { return a.Wake(a.world.now, a.queue) }},
		{"recalled last, woken", false, func(a *thread) ([]*Stream, error) { return a.Wake(a.world.now, a.queue) }},
		{"by a tick", true, func(a *thread) ([]*Stream, error) {
			found, err := a.Tick(a.world.now)
			return found.End, err
		}},
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
			end, err := test.next(a)
			if err != nil || !slices.Equal(end, []*Stream{&s.handle}) || s.handle.Why() != BySuccessor {
				t.Fatalf("to end: %v, %v, why %d; want the stream once", end, err, s.handle.Why())
			}
			a.end(end)
			w.settle(t)
		})
	}
}

// TestRecalledAndReleased: what has ended is not recalled, nor what came after it under the same context id.
func TestRecalledAndReleased(t *testing.T) {
	w := newWorld()
	a := w.thread()
	s := a.open("alice")
	if err := a.Recall(w.now, &s.handle); err != nil {
		t.Fatal(err)
	}
	a.close(s)
	next := Stream{Client: s.handle.Client, Rule: s.handle.Rule, Limits: w.limits, Context: s.handle.Context}
	if _, err := a.Claim(w.now, &next); err != nil {
		t.Fatal(err)
	}
	if recalled, err := a.Wake(w.now, a.queue); len(recalled) != 0 || err != nil {
		t.Fatalf("recalled %v, %v", recalled, err)
	}
}

// TestRecallWithoutAQueue: a worker that was swept has none, and says so.
func TestRecallWithoutAQueue(t *testing.T) {
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

// TestWorkers: everybody sees who holds a slot, without holding one.
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
		{0, Record{Incarnation: a.owner.Incarnation, Queue: a.queue, Heartbeat: 2, BeatAt: w.now, Live: 2}},
		{2, Record{Incarnation: c.owner.Incarnation, Queue: c.queue, Heartbeat: 2, BeatAt: w.now, Live: 1}},
	}
	if err != nil || !slices.Equal(held, want) {
		t.Fatalf("workers %+v, %v; want %+v", held, err, want)
	}
	if visitor.owner.Incarnation != 0 || visitor.table != a.table {
		t.Errorf("the visitor is %+v with the table %+v", visitor.owner, visitor.table)
	}
	visitor.port.before = func(c call) error {
		if c.on == slotKey(2) {
			return errBroken
		}
		return nil
	}
	if _, err := visitor.Workers(); !errors.Is(err, errBroken) {
		t.Errorf("a slot cannot be read: %v", err)
	}
	visitor.port.before = nil
	w.settle(t)
}
