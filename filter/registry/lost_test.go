package registry

import (
	"errors"
	"slices"
	"testing"
)

// loseWakeups loses the thread's wake-ups. The messages stay in its queue.
func (w *world) loseWakeups(t *thread) { w.envoy.takeWakeups(t.port.listener) }

// loseMessages empties the thread's queue as well. A worker that holds no slot has no queue.
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
	expect(t, endedByMessage, first)
	if n := w.meter.counts[LostWakeup]; n != 1 {
		t.Errorf("%d lost wake-ups counted, want 1", n)
	}
	w.settle(t)
}

// A worker loses its slot between taking it and registering its queue. The registration takes the
// wake-ups away from the slot's next owner, which gets them back at the first tick that finds a
// late message.
func TestLateJoinTakesWakeups(t *testing.T) {
	w := newWorld()
	slow, a, b := w.thread(), w.thread(), w.thread()
	b.open("bob")
	slow.port.before = once(func(c call) bool { return c.name == "register" }, func() {
		w.envoy.write(slotKey(1), Record{}.Append(nil)) // swept
		if err := a.Join(w.now); err != nil || a.owner.Slot != 1 {
			t.Fatalf("joined as %+v, %v", a.owner, err)
		}
	})
	if err := slow.Join(w.now); !errors.Is(err, errSwept) || slow.owner.Incarnation != 0 {
		t.Fatalf("join: %v, as %+v; want %v and no slot", err, slow.owner, errSwept)
	}
	first := a.open("alice")
	second := b.open("alice")
	w.deliver(t)
	expect(t, alive, first)
	w.ticks(t, 1)
	expect(t, endedByMessage, first)

	b.close(second)
	third := a.open("alice")
	b.open("alice")
	w.deliver(t)
	expect(t, endedByMessage, third)
	w.settle(t)
}

// A tick that comes before the wake-up does not count the wake-up as lost.
func TestFreshMessageIsNotALostWakeup(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	b.open("alice")
	w.now += wakeupIsLateMs
	if _, err := a.tick(); err != nil {
		t.Fatal(err)
	}
	expect(t, endedByMessage, first)
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
		t.Fatalf("the first tick found %+v, %v; want nothing, because the message may be on its way", found, err)
	}
	expect(t, alive, first)
	found, err = a.tick()
	if err != nil || len(found.End) != 1 || first.handle.Why() != ByLoss {
		t.Fatalf("the second tick found %+v, %v; want one stream lost", found, err)
	}
	expect(t, endedByCheck, first)
	expect(t, alive, other)
	if n := w.meter.counts[LostWakeup]; n != 1 {
		t.Errorf("%d lost wake-ups counted, want 1", n)
	}
	w.settle(t)
}

// A worker ticks while another worker is between its write and its message. The stream has lost its
// place, but is not ended yet: the message comes, and tells the reason.
func TestTickBetweenWriteAndMessage(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(b *thread) error
		want fate
	}{
		{"of a claim", func(b *thread) error { return b.open("alice").err }, endedByMessage},
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
					t.Error("the stream still has its place: the tick came too early for this test")
				}
			})
			if err := test.do(b); err != nil || !ticked {
				t.Fatalf("error %v; ticked before the message: %v", err, ticked)
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

// A stream ends only if it is missing at two looks in a row.
func TestMissingTwiceInARow(t *testing.T) {
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
	expect(t, endedByCheck, s)
}

// A stream that ends between the two looks is not ended again.
func TestReleaseWhileMissing(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	b.open("alice")
	w.loseMessages(a)
	w.ticks(t, 1)
	a.close(first)
	w.ticks(t, 2)
	expect(t, closed, first)
	if n := w.meter.counts[LostWakeup]; n != 0 || len(a.suspects) != 0 {
		t.Errorf("%d lost wake-ups counted, %d missing", n, len(a.suspects))
	}
	w.settle(t)
}

// If a message cannot be sent, the claim stands, and the self-check ends the superseded stream.
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
	expect(t, endedByCheck, first)
	w.settle(t)
}

// With more streams than one tick looks up and ends, several ticks find every one that is missing.
func TestSelfCheckSeesEveryStream(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	const n = 2*checksPerTick + 1
	var streams []*stream
	for i := range n {
		streams = append(streams, a.open(clientName(i)))
	}
	for i := range n {
		b.open(clientName(i))
	}
	w.loseMessages(a)
	// The first tick ends none, and each later one at most EndsPerCall.
	for range 1 + (n+EndsPerCall-1)/EndsPerCall {
		if _, err := a.tick(); err != nil {
			t.Fatal(err)
		}
	}
	// A stream that ends is replaced in the list by the last one. That may move it behind the
	// cursor, so a round can miss a few.
	for range 3 {
		if _, err := a.tick(); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, endedByCheck, streams...)
	w.settle(t)
}

// If one bucket cannot be read, the self-check still finds streams that are missing from other
// buckets.
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
	expect(t, endedByCheck, first)
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
	expect(t, endedByMessage, first)
	if n := w.meter.counts[Malformed]; n != 3 {
		t.Errorf("%d malformed values counted, want 3", n)
	}
	w.settle(t)
}

// A late wake-up may name a queue that has passed to another worker. Wake must not take its
// messages.
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
		t.Errorf("%d wake-ups counted as lost, want 0: were messages taken away?", n)
	}
}
