package registry

import (
	"errors"
	"testing"
)

// TestRule2FencesFirst: the swept worker ticks in the middle of the sweep, whatever the place, and ends nothing.
func TestRule2FencesFirst(t *testing.T) {
	everyPlace(t, func(a, b *thread) (interrupted *thread, meanwhile func()) {
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

// TestRule4LooksAtTheSlotLast: the sweep comes in the middle of the worker's own tick, whatever the place, and the
// worker ends nothing.
func TestRule4LooksAtTheSlotLast(t *testing.T) {
	everyPlace(t, func(a, b *thread) (interrupted *thread, meanwhile func()) {
		return a, func() { b.sweepNow(t, a) }
	})
}

// TestRule4AtBothLooks: the worker is swept in the middle of two ticks in a row, whatever the places. Its stream is
// missing at both looks, and ends at neither.
func TestRule4AtBothLooks(t *testing.T) {
	const most = 30 // calls of a tick, and more
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
				if n++; n == at+1 && a.holdsSlot() { // else it has been swept, and not joined again yet
					if err := b.declareDead(a); err != nil {
						t.Fatal(err)
					}
					found, err := b.tick()
					if err != nil {
						t.Fatal(err)
					}
					swept += found.Deaths // none while it has no slot
				}
				return nil
			}
			w.now += 1000
			if _, err := a.tick(); err != nil && !errors.Is(err, errSwept) { // swept again while it joins: the next tick does
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
		t.Fatalf("only %d pairs of places to interrupt two ticks: the test does not see their calls", both)
	}
}

// everyPlace interrupts a worker's tick before its n-th call, for every n. Worker a holds alice's only stream, and
// must hold it in the end.
func everyPlace(t *testing.T, roles func(a, b *thread) (interrupted *thread, meanwhile func())) {
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
		t.Fatalf("only %d places to interrupt a tick: the test does not see its calls", places)
	}
}

// TestHeartbeatAtTheLastMoment: a worker that beats between the observer's look and its write is not swept.
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

// TestUnreadableSlotIsNotAnEmptyOne: a stream whose worker cannot be looked up keeps its place.
func TestUnreadableSlotIsNotAnEmptyOne(t *testing.T) {
	w := newWorld().small(0)
	w.limits.MaxStreams = 2
	b, a := w.thread(), w.thread()
	if err := b.Join(0); err != nil {
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

// holdsSlot reads from the store whether the worker's slot is its own.
func (t *thread) holdsSlot() bool {
	r, err := ParseRecord(t.world.envoy.data[slotKey(t.owner.Slot)].value)
	return err == nil && t.owner.Incarnation != 0 && r.Incarnation == t.owner.Incarnation
}
