package registry

import "testing"

// In each test here a worker is declared dead while it lives. Most tests show a rule of the package
// comment at work, and name it in brackets.

// declareDead makes t declare the other worker dead on its next tick, as if the heartbeat had stood
// still.
func (t *thread) declareDead(other *thread) error {
	if _, _, err := t.readSlot(other.owner.Slot); err != nil {
		return err
	}
	t.world.swept = true
	if int(other.owner.Slot) < len(t.peers) {
		t.peers[other.owner.Slot].looks = missedTicks
	}
	return nil
}

// sweepNow is a tick of t that declares the other worker dead.
func (t *thread) sweepNow(tb testing.TB, other *thread) {
	tb.Helper()
	if err := t.declareDead(other); err != nil {
		tb.Fatal(err)
	}
	if found, err := t.tick(); err != nil || found.Deaths != 1 {
		tb.Fatalf("tick found %+v, %v; want one death", found, err)
	}
}

// A worker that lost its slot takes another, and its streams are in the registry again (put back).
func TestSweptWorkerPutsItsStreamsBack(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	streams := []*stream{a.open("alice"), a.open("bob")}
	b.open("carol")
	was := a.owner
	b.sweepNow(t, a)
	if entries, _ := w.registry(); len(entries) != 1 {
		t.Fatalf("after the sweep the registry holds %+v, want carol's stream alone", entries)
	}
	w.ticks(t, 1)
	expect(t, alive, streams...)
	if a.owner == was {
		t.Fatal("the worker still uses the incarnation that was swept")
	}
	for _, s := range streams {
		if s.handle.as().Owner != a.owner {
			t.Errorf("%s is registered as %+v", s.client, s.handle.as())
		}
	}
	w.settle(t)
	expect(t, alive, streams...)
}

// If the worker comes back before anybody has removed its streams, each is in the registry once,
// and is not counted as swept.
func TestPutBackReplacesTheOldName(t *testing.T) {
	w := newWorld().small(4)
	w.limits.MaxStreams = 2
	a := w.thread()
	s := a.open("alice")
	a.fence()
	w.ticks(t, 1)
	entries, _ := w.registry()
	if len(entries) != 1 || entries[0].Owner != a.owner || w.meter.counts[Swept] != 0 {
		t.Fatalf("the registry holds %+v, %d swept", entries, w.meter.counts[Swept])
	}
	expect(t, alive, s)
	w.settle(t)
}

// A stream that was put back is still older than one that was claimed after it (keep the number).
func TestPutBackKeepsTheNumber(t *testing.T) {
	w := newWorld().small(4)
	w.limits.MaxStreams = 2
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	second := b.open("alice")
	b.sweepNow(t, a)
	w.ticks(t, 1)
	expect(t, alive, first, second)
	third := b.open("alice")
	w.deliver(t)
	expect(t, endedByMessage, first)
	expect(t, alive, second, third)
	w.settle(t)
}

// A stream was superseded after the sweep. When it is put back, it yields to its successor (keep
// the number).
func TestPutBackYieldsToTheSuccessor(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	b.open("bob")
	b.sweepNow(t, a)
	second := b.open("alice")
	w.deliver(t)
	expect(t, alive, first) // the second claim did not see it
	found, err := a.tick()
	if err != nil || len(found.Claimed) != 1 {
		t.Fatalf("tick found %+v, %v; want one takeover", found, err)
	}
	if got := found.Claimed[0]; got.Stream != &first.handle || got.Refusal != 0 || len(got.Superseded) != 1 || got.Superseded[0].Context != first.handle.Context {
		t.Fatalf("claim %+v; want the first stream itself to yield", got)
	}
	expect(t, endedByMessage, first)
	expect(t, alive, second)
	if n := len(w.envoy.takeWakeups(a.port.listener)); n != 0 {
		t.Errorf("the worker sent itself %d messages about its own stream, want 0", n)
	}
	w.settle(t)
	expect(t, alive, second)
}

// The newest stream was claimed by a worker that did not know of its sweep. An older stream is put
// back before it, and must not keep the place (keep the number).
func TestPutBackOfTheNewest(t *testing.T) {
	w := newWorld().small(4)
	a, b, c := w.thread(), w.thread(), w.thread()
	first := b.open("alice")
	a.open("bob")
	a.fence()
	newest := a.open("alice") // under an incarnation that holds no slot
	b.fence()
	c.open("carol")
	for range 2 {
		if _, err := c.tick(); err != nil { // removes both as orphans
			t.Fatal(err)
		}
	}
	if _, err := b.tick(); err != nil { // before its message arrives, first is put back
		t.Fatal(err)
	}
	w.ticks(t, 1)
	expect(t, endedByMessage, first)
	expect(t, alive, newest)
	w.settle(t)
}

// If the rule only observes, a stream that yields when it is put back is not ended.
func TestPutBackOfAnObservedStream(t *testing.T) {
	w := newWorld().small(4)
	w.enforce = false
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	b.open("bob")
	b.sweepNow(t, a)
	b.open("alice")
	w.ticks(t, 2)
	expect(t, alive, first)
	if first.handle.state != Out {
		t.Error("the stream does not know that it was superseded")
	}
	w.settle(t)
}

// A worker is swept in the middle of a claim, writes its stream after the sweep, and crashes. A
// claim and a tick each remove the stream (remove orphans).
func TestOrphansAreRemoved(t *testing.T) {
	for _, test := range []struct {
		name   string
		meets  func(*testing.T, *world, *thread)
		remain int
	}{
		{"met by a claim", func(_ *testing.T, w *world, b *thread) {
			w.limits.MaxStreams = 2
			b.open("alice")
		}, 1},
		{"met by a tick", func(t *testing.T, _ *world, b *thread) {
			if _, err := b.tick(); err != nil {
				t.Fatal(err)
			}
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld().small(0)
			a, b := w.thread(), w.thread()
			if err := a.Join(w.now); err != nil {
				t.Fatal(err)
			}
			if err := b.Join(w.now); err != nil {
				t.Fatal(err)
			}
			a.port.before = func(c call) error {
				if c.name == "set" && isBucket(c) {
					b.sweepNow(t, a)
				}
				return nil
			}
			orphan := a.open("alice")
			a.crash()
			if entries, _ := w.registry(); len(entries) != 1 || entries[0].Context != orphan.handle.Context {
				t.Fatalf("the registry holds %+v, want the orphan alone", entries)
			}
			test.meets(t, w, b)
			entries, _ := w.registry()
			if len(entries) != test.remain || w.meter.counts[Swept] != 1 {
				t.Errorf("the registry holds %+v, %d swept; want %d and 1", entries, w.meter.counts[Swept], test.remain)
			}
			w.settle(t)
		})
	}
}

// A worker puts back more streams than one tick can.
func TestPutBackOfManyStreams(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	const n = 2*finishPerCall + 1
	var streams []*stream
	for i := range n {
		streams = append(streams, a.open(clientName(i)))
	}
	b.open("bob")
	b.sweepNow(t, a)
	w.ticks(t, 3)
	if entries, _ := w.registry(); len(entries) != n+1 {
		t.Fatalf("%d streams in the registry after three ticks, want %d", len(entries), n+1)
	}
	expect(t, alive, streams...)
	w.settle(t)
}

// A stream whose client hangs up before it is put back is not put back.
func TestClosedWhileSwept(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	s := a.open("alice")
	b.open("bob")
	b.sweepNow(t, a)
	a.close(s)
	w.ticks(t, 1)
	if entries, _ := w.registry(); len(entries) != 1 {
		t.Fatalf("the registry holds %+v", entries)
	}
	w.settle(t)
}

// The worker was swept and could not join again. A claim must not write a stream without an
// incarnation: that would make the whole bucket malformed.
func TestClaimWithoutASlot(t *testing.T) {
	w := newWorld().small(0)
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	bystander := b.open("bob")
	a.fence()
	a.port.before = func(c call) error {
		if c.name == "set" && !isBucket(c) {
			return errBroken
		}
		return nil
	}
	if _, err := a.tick(); err == nil {
		t.Fatal("the worker joined again on a broken store")
	}
	second := a.open("alice")
	if second.err == nil {
		t.Fatal("claimed without a slot")
	}
	second.err, a.port.before = nil, nil
	w.ticks(t, 1)
	expect(t, endedByMessage, first)
	expect(t, alive, second, bystander)
	if n := w.meter.counts[Malformed]; n != 0 {
		t.Errorf("%d malformed values met, want none", n)
	}
	w.settle(t)
}
