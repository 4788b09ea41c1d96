package registry

import (
	"errors"
	"testing"
)

// The worker that is being swept ticks in the middle of the sweep, at any call, and ends nothing
// (fence first).
func TestSweepFencesFirst(t *testing.T) {
	atEveryCall(t, func(a, b *thread) (interrupted *thread, meanwhile func()) {
		if err := b.declareDead(a); err != nil {
			t.Fatal(err)
		}
		return b, func() {
			if _, err := a.tick(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A worker is swept in the middle of its own tick, at any call, and ends nothing (slot last).
func TestSelfCheckReadsTheSlotLast(t *testing.T) {
	atEveryCall(t, func(a, b *thread) (interrupted *thread, meanwhile func()) {
		return a, func() { b.sweepNow(t, a) }
	})
}

// A worker is swept in the middle of two ticks in a row, at any two calls. Its stream is missing at
// both looks, and ends at neither (slot last).
func TestSelfCheckReadsTheSlotLastTwice(t *testing.T) {
	const most = 30 // more than the calls of a tick
	both := 0
	for place := range most * most {
		w := newWorld().small(0)
		a, b := w.thread(), w.thread()
		s := a.open("alice")
		b.open("bob")
		w.ticks(t, 1)
		swept := 0
		for _, at := range []int{place / most, place % most} {
			n := 0
			a.port.before = func(call) error {
				if n++; n == at+1 && a.holdsSlot() { // otherwise it was swept before and has not joined again
					if err := b.declareDead(a); err != nil {
						t.Fatal(err)
					}
					found, err := b.tick()
					if err != nil {
						t.Fatal(err)
					}
					swept += found.Deaths // 0 if a holds no slot
				}
				return nil
			}
			w.now += 1000
			if _, err := a.tick(); err != nil && !errors.Is(err, errSwept) { // if it is swept again while it joins, the next tick joins
				t.Fatalf("interrupted before calls %d and %d: %v", place/most, place%most, err)
			}
			a.port.before = nil
		}
		if swept == 2 {
			both++
		}
		w.settle(t)
		expect(t, alive, s)
		if t.Failed() {
			t.Fatalf("interrupted before calls %d and %d", place/most, place%most)
		}
	}
	if both < 36 {
		t.Fatalf("swept at both of two ticks %d times, want at least 36: does the test see their calls?", both)
	}
}

// atEveryCall interrupts a worker's tick before its n-th call, for every n. Worker a holds alice's
// only stream, which must live in the end.
func atEveryCall(t *testing.T, roles func(a, b *thread) (interrupted *thread, meanwhile func())) {
	places := 0
	for place := 1; ; place++ {
		w := newWorld().small(0)
		a, b := w.thread(), w.thread()
		s := a.open("alice")
		b.open("bob")
		w.ticks(t, 1)
		interrupted, meanwhile := roles(a, b)
		n := 0
		interrupted.port.before = func(call) error {
			if n++; n == place {
				meanwhile()
			}
			return nil
		}
		if _, err := interrupted.tick(); err != nil {
			t.Fatalf("interrupted before call %d: %v", place, err)
		}
		interrupted.port.before = nil
		if n < place {
			break
		}
		places++
		expect(t, alive, s)
		w.settle(t)
		expect(t, alive, s)
		if t.Failed() {
			t.Fatalf("interrupted before call %d", place)
		}
	}
	if places < 6 {
		t.Fatalf("interrupted a tick at %d calls, want at least 6: does the test see its calls?", places)
	}
}

// A worker is not swept if it beats between another worker's read of its slot and the write.
func TestHeartbeatAtTheLastMoment(t *testing.T) {
	w := newWorld().small(0)
	a, b := w.thread(), w.thread()
	s := a.open("alice")
	b.open("bob")
	w.ticks(t, 1)
	if err := b.declareDead(a); err != nil {
		t.Fatal(err)
	}
	was := a.owner
	b.port.before = once(func(c call) bool { return c == call{"set", slotKey(0)} }, func() {
		if _, err := a.tick(); err != nil {
			t.Fatal(err)
		}
	})
	if found, err := b.tick(); err != nil || found.Deaths != 0 {
		t.Fatalf("tick found %+v, %v; want nobody dead", found, err)
	}
	w.ticks(t, 1)
	if a.owner != was || w.meter.counts[Swept] != 0 {
		t.Fatalf("the worker was %+v and is %+v, %d streams swept", was, a.owner, w.meter.counts[Swept])
	}
	expect(t, alive, s)
	w.settle(t)
}

// A stream keeps its place if the slot of its owner cannot be read.
func TestUnreadableSlotIsNotFree(t *testing.T) {
	w := newWorld().small(0)
	w.limits.MaxStreams = 2
	b, a := w.thread(), w.thread()
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	first := a.open("alice") // in a slot that b has not seen yet
	b.port.before = func(c call) error {
		if c == (call{"get", slotKey(a.owner.Slot)}) {
			return errBroken
		}
		return nil
	}
	second := b.open("alice")
	entries, _ := w.registry()
	if len(entries) != 2 || w.meter.counts[Swept] != 0 {
		t.Fatalf("the registry holds %+v, %d swept; want both streams", entries, w.meter.counts[Swept])
	}
	b.port.before = nil
	w.settle(t)
	expect(t, alive, first, second)
}

// holdsSlot reads from the store whether the worker holds its slot.
func (t *thread) holdsSlot() bool {
	r, err := ParseRecord(t.world.envoy.data[slotKey(t.owner.Slot)].value)
	return err == nil && t.owner.Incarnation != 0 && r.Incarnation == t.owner.Incarnation
}
