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
		t.Fatalf("after two ticks without a heartbeat the registry holds %+v, want no stream swept yet", entries)
	}
	w.now += 1000
	found, err := b.tick() // the third without a heartbeat
	if err != nil || found.Deaths != 1 {
		t.Fatalf("tick found %+v, %v; want one death", found, err)
	}
	if entries, _ := w.registry(); len(entries) != 1 || entries[0].Context != kept.handle.Context {
		t.Fatalf("after the sweep the registry holds %+v, want dave's stream alone", entries)
	}
	if n := w.meter.counts[Swept]; n != len(lost) {
		t.Errorf("%d streams counted as swept, want %d", n, len(lost))
	}
	expect(t, cutByCrash, lost...)
	w.settle(t)
	expect(t, alive, kept)
}

// One worker takes the dead one's slot. Both may remove its orphans, but a death and an orphan are
// counted once.
func TestDeathIsCountedOnce(t *testing.T) {
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

// A worker that beats once in every missedTicks ticks of another is not swept.
func TestSlowWorkerIsNotSwept(t *testing.T) {
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

// In a table of the real size, all orphans are gone after as many ticks as it takes to search every
// bucket once, wherever the search began.
func TestSweepOfTheWholeTable(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	for i := range 5000 {
		a.open(clientName(i))
	}
	b.open("bob")
	w.ticks(t, 1)
	a.crash()
	w.ticks(t, missedTicks+(1<<bucketBits)/visitsPerCall-1)
	if entries, _ := w.registry(); len(entries) != 1 {
		t.Fatalf("%d entries left, want bob's only", len(entries))
	}
	w.settle(t)
}

// The search goes on behind a bucket that could not be read.
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
			if scans++; scans == 3 { // the first one is the self-check of bob's stream
				return errBroken
			}
		}
		return nil
	}
	if found, err := b.tick(); err == nil || found.Deaths != 1 {
		t.Fatalf("tick found %+v, %v; want a death and an error", found, err)
	}
	b.port.before = nil
	w.ticks(t, (1<<bucketBits)/visitsPerCall)
	entries, _ := w.registry()
	if len(entries) > 1+5 { // the slow search finds those in the bucket that failed
		t.Fatalf("%d entries left, want bob's and at most those of one bucket", len(entries))
	}
	w.ticks(t, (1<<bucketBits)/visitsPerTick)
	w.settle(t)
}

// A death is not forgotten because another slot cannot be read in the same tick.
func TestDeathIsKeptDespiteAnError(t *testing.T) {
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
	w.ticks(t, (1<<bucketBits)/visitsPerCall)
	if entries, _ := w.registry(); len(entries) != 2 {
		t.Fatalf("%d entries left, want bob's and carol's", len(entries))
	}
	w.settle(t)
}

// A worker takes a dead worker's slot and dies before it removes the streams. No other worker sees
// that first death. The slow search finds the orphans.
func TestSweeperDies(t *testing.T) {
	w := newWorld().small(bucketBits)
	a, b, c := w.thread(), w.thread(), w.thread()
	s := a.open("alice")
	b.open("bob")
	c.open("carol")
	w.ticks(t, 1)
	a.crash()
	a.fence()
	b.crash()
	w.ticks(t, (1<<bucketBits)/visitsPerTick)
	expect(t, cutByCrash, s)
	w.settle(t)
}

// The next worker takes the dead worker's slot and queue. Messages for the dead worker do not reach
// its streams.
func TestSlotIsReused(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	old := a.open("alice")
	b.open("bob")
	w.ticks(t, 1)
	a.crash()
	b.open("alice") // its message goes to a's queue
	w.ticks(t, missedTicks)

	c := w.thread()
	if err := c.Join(w.now); err != nil {
		t.Fatal(err)
	}
	if c.owner.Slot != a.owner.Slot || c.queue != a.queue || c.owner == a.owner {
		t.Fatalf("the next worker is %+v on queue %d; the dead one was %+v on queue %d", c.owner, c.queue, a.owner, a.queue)
	}
	s := old.handle // a new VM counts its contexts from 1 again
	s = Stream{Client: s.Client, Rule: s.Rule, Limits: s.Limits, Context: s.Context}
	if _, err := c.Claim(w.now, &s); err != nil {
		t.Fatal(err)
	}
	if ends, err := c.Wake(w.now, c.queue); len(ends.End) != 0 || err != nil {
		t.Fatalf("a message for the dead worker ended %v, %v", ends, err)
	}
}

// A claim removes orphans from its client's entry at once, so a dead stream does not count against
// a live one.
func TestClaimRemovesOrphans(t *testing.T) {
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
