package registry

import (
	"errors"
	"testing"
)

func TestDeadWorkerIsSwept(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	lost := []*stream{a.open("alice"), a.open("bob"), a.open("carol")}
	kept := b.open("dave")
	w.ticks(t, 1) // b has seen a's heartbeat
	a.crash()

	w.ticks(t, 2)
	if entries, _ := w.registry(); len(entries) != len(lost)+1 {
		t.Fatalf("swept too early: %+v", entries)
	}
	w.now += 1000
	found, err := b.tick() // the third without a heartbeat
	if err != nil || found.Deaths != 1 {
		t.Fatalf("tick found %+v, %v; want one death and its %d streams", found, err, len(lost))
	}
	if entries, _ := w.registry(); len(entries) != 1 || entries[0].Context != kept.handle.Context {
		t.Fatalf("after the sweep: %+v", entries)
	}
	if n := w.meter.counts[Swept]; n != len(lost) {
		t.Errorf("%d streams counted as swept, want %d", n, len(lost))
	}
	expect(t, cut, lost...)
	w.settle(t)
	expect(t, alive, kept)
}

// TestOneDeathIsSweptByAll: whoever comes first takes the slot; nobody counts the death twice.
func TestOneDeathIsSweptByAll(t *testing.T) {
	w := newWorld().small(4)
	a, b, c := w.thread(), w.thread(), w.thread()
	for i := range 50 {
		a.open(clientName(i))
	}
	b.open("bob")
	c.open("carol")
	w.ticks(t, 1)
	a.crash()
	deaths := 0
	for range 2 * missedTicks {
		for _, th := range []*thread{b, c} {
			found, err := th.tick()
			if err != nil {
				t.Fatal(err)
			}
			deaths += found.Deaths
		}
	}
	if deaths != 1 || w.meter.counts[Swept] != 50 {
		t.Errorf("%d deaths, %d streams swept; want 1 and 50", deaths, w.meter.counts[Swept])
	}
	w.settle(t)
}

// TestSlowWorkerLives: a heartbeat between the last two looks is enough.
func TestSlowWorkerLives(t *testing.T) {
	w := newWorld().small(4)
	slow, fast := w.thread(), w.thread()
	s := slow.open("alice")
	fast.open("bob")
	for range 5 {
		for range missedTicks {
			found, err := fast.tick()
			if err != nil || found.Deaths != 0 {
				t.Fatalf("tick found %+v, %v", found, err)
			}
		}
		if _, err := slow.tick(); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, alive, s)
	w.settle(t)
}

// TestSweepOfTheWholeTable: a table of the real size is swept in as many ticks as it has portions, from wherever the
// scan happens to stand.
func TestSweepOfTheWholeTable(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	for i := range 5000 {
		a.open(clientName(i))
	}
	b.open("bob")
	w.ticks(t, 1)
	a.crash()
	w.ticks(t, missedTicks+(1<<bucketBits)/sweepPerTick-1)
	if entries, _ := w.registry(); len(entries) != 1 {
		t.Fatalf("%d entries left, want bob's only", len(entries))
	}
	w.settle(t)
}

// TestSweepGoesOnAfterAnError: what could not be read once is not left out of the sweep.
func TestSweepGoesOnAfterAnError(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	for i := range 5000 {
		a.open(clientName(i))
	}
	b.open("bob")
	w.ticks(t, 1)
	a.crash()
	w.ticks(t, missedTicks-1)
	scans := 0
	b.port.before = func(c call) error {
		if isBucket(c) && c.name == "get" {
			if scans++; scans == 3 { // the first is the self-check of bob's
				return errBroken
			}
		}
		return nil
	}
	if found, err := b.tick(); err == nil || found.Deaths != 1 {
		t.Fatalf("tick found %+v, %v; want a death and an error", found, err)
	}
	b.port.before = nil
	w.ticks(t, (1<<bucketBits)/sweepPerTick)
	entries, _ := w.registry()
	if len(entries) > 1+5 { // the bucket that failed is left to the slow scan
		t.Fatalf("%d entries left, want bob's and those of one bucket", len(entries))
	}
	w.ticks(t, (1<<bucketBits)/scanPerTick)
	w.settle(t)
}

// TestDeathBeforeAnError: a death is not forgotten because a later slot could not be read.
func TestDeathBeforeAnError(t *testing.T) {
	w := newWorld()
	a, b, c := w.thread(), w.thread(), w.thread()
	for i := range 5000 {
		a.open(clientName(i))
	}
	b.open("bob")
	c.open("carol")
	w.ticks(t, 1)
	a.crash()
	w.ticks(t, missedTicks-1)
	b.port.before = func(c call) error {
		if c == (call{"get", slotKey(2)}) {
			return errBroken
		}
		return nil
	}
	if found, err := b.tick(); !errors.Is(err, errBroken) || found.Deaths != 1 {
		t.Fatalf("tick found %+v, %v; want a death and an error", found, err)
	}
	b.port.before = nil
	w.ticks(t, (1<<bucketBits)/sweepPerTick)
	if entries, _ := w.registry(); len(entries) != 2 {
		t.Fatalf("%d entries left, want bob's and carol's", len(entries))
	}
	w.settle(t)
}

// TestUnfinishedSweepIsTakenUp: the sweeper dies in turn, right after it took the slot; nobody sees that death again,
// and the slow scan finds what is left.
func TestUnfinishedSweepIsTakenUp(t *testing.T) {
	w := newWorld().small(bucketBits)
	a, b, c := w.thread(), w.thread(), w.thread()
	s := a.open("alice")
	b.open("bob")
	c.open("carol")
	w.ticks(t, 1)
	a.crash()
	a.fence()
	b.crash()
	w.ticks(t, (1<<bucketBits)/scanPerTick)
	expect(t, cut, s)
	w.settle(t)
}

// TestSlotIsUsedAgain: the next worker takes the dead one's slot and queue, and what was sent to the dead one does
// not reach it.
func TestSlotIsUsedAgain(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	old := a.open("alice")
	b.open("bob")
	w.ticks(t, 1)
	a.crash()
	b.open("alice") // its message goes to a's queue
	w.ticks(t, missedTicks)

	c := w.thread()
	if err := c.Join(0); err != nil {
		t.Fatal(err)
	}
	if c.owner.Slot != a.owner.Slot || c.queue != a.queue || c.owner == a.owner {
		t.Fatalf("the next worker is %+v on queue %d; the dead one was %+v on queue %d", c.owner, c.queue, a.owner, a.queue)
	}
	s := old.handle // a new VM counts its contexts from the start, too
	s = Stream{Client: s.Client, Rule: s.Rule, Limits: s.Limits, Context: s.Context}
	if _, err := c.Claim(w.now, &s); err != nil {
		t.Fatal(err)
	}
	if ends, err := c.Wake(w.now, c.queue); len(ends) != 0 || err != nil {
		t.Fatalf("a message for the dead worker ended %v, %v", ends, err)
	}
}

// TestClaimRemovesTheDead: a claim does not wait for the sweep to reach its bucket, and a dead stream takes no place
// from a live one.
func TestClaimRemovesTheDead(t *testing.T) {
	w := newWorld()
	w.limits.MaxStreams = 2
	a, b := w.thread(), w.thread()
	live := b.open("alice")
	a.open("alice") // newer than live, and dead
	a.crash()
	a.fence()
	b.open("alice")
	w.deliver(t)
	expect(t, alive, live)
	if n := w.meter.counts[Swept]; n != 1 {
		t.Errorf("%d streams counted as swept, want 1", n)
	}
	w.settle(t)
}
