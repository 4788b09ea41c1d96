package registry

import (
	"errors"
	"slices"
	"testing"
)

// loseWakeups is Envoy forgetting to wake the thread: the messages stay in its queue.
func (w *world) loseWakeups(t *thread) { w.envoy.takeWakeups(t.port.listener) }

// loseMessages empties the thread's queue as well, if it has one: swept, and not back yet, it has not.
func (w *world) loseMessages(t *thread) {
	w.loseWakeups(t)
	if t.queue != 0 {
		w.envoy.queues[t.queue-1].messages = nil
	}
}

func TestLostWakeupCostsOneTick(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	b.open("alice")
	w.loseWakeups(a)
	w.now += 1000
	found, err := a.tick()
	if err != nil || len(found.End) != 1 || first.handle.Why() != BySuccessor {
		t.Fatalf("tick found %+v, %v; want the stream superseded by its message", found, err)
	}
	expect(t, told, first)
	if n := w.meter.counts[LostWakeup]; n != 1 {
		t.Errorf("%d lost wake-ups counted, want 1", n)
	}
	w.settle(t)
}

// TestStolenWakeups: a worker that loses its slot between taking it and registering its queue takes the wake-ups from
// the slot's next owner. They come back with the first one that is missed.
func TestStolenWakeups(t *testing.T) {
	w := newWorld()
	slow, a, b := w.thread(), w.thread(), w.thread()
	b.open("bob")
	slow.port.before = once(func(c call) bool { return c.name == "register" }, func() {
		w.envoy.write(slotKey(1), Record{}.Append(nil)) // swept
		if err := a.Join(0); err != nil || a.owner.Slot != 1 {
			t.Fatalf("joined as %+v, %v", a.owner, err)
		}
	})
	if err := slow.Join(0); !errors.Is(err, errSwept) || slow.owner.Incarnation != 0 {
		t.Fatalf("join: %v, as %+v; want it to notice", err, slow.owner)
	}
	first := a.open("alice")
	second := b.open("alice")
	w.deliver(t)
	expect(t, alive, first)
	w.ticks(t, 1)
	expect(t, told, first)

	b.close(second)
	third := a.open("alice")
	b.open("alice")
	w.deliver(t)
	expect(t, told, third)
	w.settle(t)
}

// TestFreshMessageIsNotALostWakeup: a tick that overtakes a wake-up does not call it lost.
func TestFreshMessageIsNotALostWakeup(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	b.open("alice")
	w.now += wakeupIsLateMs
	if _, err := a.tick(); err != nil {
		t.Fatal(err)
	}
	expect(t, told, first)
	if n := w.meter.counts[LostWakeup]; n != 0 {
		t.Errorf("%d lost wake-ups counted, want none", n)
	}
	w.settle(t) // the wake-up comes and finds nothing
}

func TestLostMessageIsFoundBySelfCheck(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	other := a.open("bob")
	b.open("alice")
	w.loseMessages(a)
	found, err := a.tick()
	if err != nil || len(found.End) != 0 || w.meter.counts[LostWakeup] != 0 {
		t.Fatalf("the first tick found %+v, %v; its message may be on the way", found, err)
	}
	expect(t, alive, first)
	found, err = a.tick()
	if err != nil || len(found.End) != 1 || first.handle.Why() != ByLoss {
		t.Fatalf("the second tick found %+v, %v; want one stream lost", found, err)
	}
	expect(t, foundBy, first)
	expect(t, alive, other)
	if n := w.meter.counts[LostWakeup]; n != 1 {
		t.Errorf("%d lost wake-ups counted, want 1", n)
	}
	w.settle(t)
}

// TestMessageOnItsWay: a worker ticks while a claim on another is between its write and its message. The stream has no
// place any more, and is not lost: its message comes, and with it the reason.
func TestMessageOnItsWay(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(b *thread) error
		want fate
	}{
		{"of a claim", func(b *thread) error { return b.open("alice").err }, told},
		{"of an operator", func(b *thread) error { _, err := b.dismiss("alice"); return err }, dismissed},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			a, b := w.thread(), w.thread()
			first := a.open("alice")
			b.open("bob")
			w.ticks(t, 1)
			ticked := false
			b.port.before = once(func(c call) bool { return c.name == "enqueue" }, func() {
				ticked = true
				w.now += 1000
				if found, err := a.tick(); err != nil || len(found.End) != 0 {
					t.Errorf("tick found %+v, %v; want nothing", found, err)
				}
				if entries, _ := w.registry(); slices.ContainsFunc(entries, func(r registered) bool { return r.Context == first.handle.Context }) {
					t.Error("the stream has its place yet: the test looks too early")
				}
			})
			if err := test.do(b); err != nil || !ticked {
				t.Fatalf("%v; ticked %v", err, ticked)
			}
			expect(t, alive, first)
			w.deliver(t)
			expect(t, test.want, first)
			w.settle(t)
			if n := w.meter.counts[LostWakeup]; n != 0 {
				t.Errorf("%d lost wake-ups counted, want none", n)
			}
		})
	}
}

// TestTwoLooksAreTwoInARow: a stream that was missing, and is there at the next look, starts anew.
func TestTwoLooksAreTwoInARow(t *testing.T) {
	w := newWorld().small(0)
	a := w.thread()
	s := a.open("alice")
	there := w.envoy.data[bucketKey(0)].value
	look := func(value []byte) {
		t.Helper()
		w.envoy.write(bucketKey(0), value)
		w.now += 1000
		if _, err := a.tick(); err != nil {
			t.Fatal(err)
		}
	}
	gone := (&Bucket{Claims: 1}).Append(nil)
	for range 3 {
		look(gone)
		look(there)
	}
	expect(t, alive, s)
	look(gone)
	look(gone)
	expect(t, foundBy, s)
}

// TestMissingAndReleased: a stream that ends between the two looks is not ended again.
func TestMissingAndReleased(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	b.open("alice")
	w.loseMessages(a)
	w.ticks(t, 1)
	a.close(first)
	w.ticks(t, 2)
	expect(t, closed, first)
	if n := w.meter.counts[LostWakeup]; n != 0 || len(a.missing) != 0 {
		t.Errorf("%d lost wake-ups counted, %d missing", n, len(a.missing))
	}
	w.settle(t)
}

// TestMessageThatCannotBeSent: the claim stands, and the self-check does the rest.
func TestMessageThatCannotBeSent(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	b.port.before = func(c call) error {
		if c.name == "enqueue" {
			return ErrNotFound
		}
		return nil
	}
	second := b.open("alice")
	expect(t, alive, first, second)
	w.ticks(t, 1)
	expect(t, alive, first)
	w.ticks(t, 1)
	expect(t, foundBy, first)
	w.settle(t)
}

// TestSelfCheckSeesEveryStream: with more streams than one tick looks at and ends, the last is found within a few.
func TestSelfCheckSeesEveryStream(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	const n = 2*checkPerTick + 1
	var streams []*stream
	for i := range n {
		streams = append(streams, a.open(clientName(i)))
	}
	for i := range n {
		b.open(clientName(i))
	}
	w.loseMessages(a)
	// Each ends so many at most, and the first none.
	for range 1 + (n+EndsPerCall-1)/EndsPerCall {
		if _, err := a.tick(); err != nil {
			t.Fatal(err)
		}
	}
	// Streams that go make room at the end of the list: one round may miss the few that moved behind the cursor.
	for range 3 {
		if _, err := a.tick(); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, foundBy, streams...)
	w.settle(t)
}

// TestSelfCheckDespiteAnError: one bucket that cannot be read does not hide streams that are missing from others.
func TestSelfCheckDespiteAnError(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first, bob := a.open("alice"), a.open("bob")
	b.open("alice")
	w.loseMessages(a)
	unreadable := bucketKey(a.table.bucket(bob.handle.Client))
	a.port.before = func(c call) error {
		if c.on == unreadable {
			return errBroken
		}
		return nil
	}
	for range 2 { // two looks
		if _, err := a.tick(); !errors.Is(err, errBroken) {
			t.Fatalf("tick: %v", err)
		}
	}
	expect(t, foundBy, first)
	expect(t, alive, bob)
	a.port.before = nil
	w.settle(t)
}

func TestMalformedMessageIsDropped(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	for _, junk := range []string{"", "junk", string(make([]byte, messageSize))} {
		if err := a.port.Enqueue(a.queue, []byte(junk)); err != nil {
			t.Fatal(err)
		}
	}
	b.open("alice")
	w.deliver(t)
	expect(t, told, first)
	if n := w.meter.counts[Malformed]; n != 3 {
		t.Errorf("%d malformed values counted, want 3", n)
	}
	w.settle(t)
}

// TestForeignQueueIsNotRead: a wake-up for a queue that has since passed to another worker must not take the other's
// messages away.
func TestForeignQueueIsNotRead(t *testing.T) {
	w := newWorld()
	a, b, c := w.thread(), w.thread(), w.thread()
	a.open("zoe")
	b.open("alice")
	c.open("alice")
	if _, err := a.Wake(w.now, b.queue); err != nil {
		t.Fatal(err)
	}
	w.deliver(t)
	w.settle(t)
	if n := w.meter.counts[LostWakeup]; n != 0 {
		t.Errorf("%d messages taken away", n)
	}
}
