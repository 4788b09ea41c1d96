package registry

import "testing"

// Each scenario here is about a worker that is taken for dead while it lives, and shows one of the rules in the
// package comment at work.

// declareDead makes t take the other for dead on its next tick, as if it had missed its heartbeats.
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

// sweepNow is an observer's tick that takes the other for dead.
func (t *thread) sweepNow(tb testing.TB, other *thread) {
	tb.Helper()
	if err := t.declareDead(other); err != nil {
		tb.Fatal(err)
	}
	if found, err := t.tick(); err != nil || found.Deaths != 1 {
		tb.Fatalf("tick found %+v, %v; want one death", found, err)
	}
}

func TestSweptWorkerPutsItsStreamsBack(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	streams := []*stream{a.open("alice"), a.open("bob")}
	b.open("carol")
	was := a.owner
	b.sweepNow(t, a)
	if entries, _ := w.registry(); len(entries) != 1 {
		t.Fatalf("not swept: %+v", entries)
	}
	w.ticks(t, 1)
	expect(t, alive, streams...)
	if a.owner == was {
		t.Fatal("the worker still goes by the incarnation that was swept")
	}
	for _, s := range streams {
		if s.handle.as.Owner != a.owner {
			t.Errorf("%s is registered as %+v", s.client, s.handle.as)
		}
	}
	w.settle(t)
	expect(t, alive, streams...)
}

// TestNewNameReplacesTheOld: nobody has removed the stream yet when its worker comes back. It is in the registry once
// then, and was not swept.
func TestNewNameReplacesTheOld(t *testing.T) {
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

// TestRule1KeepsThePlace: a stream that is put back is still older than one that was claimed after it.
func TestRule1KeepsThePlace(t *testing.T) {
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
	expect(t, told, first)
	expect(t, alive, second, third)
	w.settle(t)
}

// TestRule3OldStreamsYield: a stream that was superseded while its worker was out of the registry does not beat its
// successor by coming back.
func TestRule3OldStreamsYield(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	b.open("bob")
	b.sweepNow(t, a)
	second := b.open("alice")
	w.deliver(t)
	expect(t, alive, first) // nobody knew of it
	found, err := a.tick()
	if err != nil || len(found.Claimed) != 1 {
		t.Fatalf("tick found %+v, %v; want one takeover", found, err)
	}
	if got := found.Claimed[0]; got.Stream != &first.handle || got.Refusal != 0 || len(got.Superseded) != 1 || got.Superseded[0].Context != first.handle.Context {
		t.Fatalf("takeover %+v; want the first stream to yield by its own return", got)
	}
	expect(t, told, first)
	expect(t, alive, second)
	if n := len(w.envoy.takeWakeups(a.port.listener)); n != 0 {
		t.Errorf("the worker sent itself %d messages about a stream that it ended", n)
	}
	w.settle(t)
	expect(t, alive, second)
}

// TestRule3NewestComesBack: the newest claim was made by a worker that had been swept and did not know. Its place goes
// to nobody older, though an older stream is put back first.
func TestRule3NewestComesBack(t *testing.T) {
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
	expect(t, told, first)
	expect(t, alive, newest)
	w.settle(t)
}

// TestRule3WithoutEnforcement: an observed stream that finds newer ones is left alone.
func TestRule3WithoutEnforcement(t *testing.T) {
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

// TestRule5Orphans: a worker is swept in the middle of a claim, its write goes through after the sweep, and the worker
// dies. A claim and a tick each remove what it wrote.
func TestRule5Orphans(t *testing.T) {
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
			if err := a.Join(0); err != nil {
				t.Fatal(err)
			}
			if err := b.Join(0); err != nil {
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
				t.Fatalf("no orphan was written: %+v", entries)
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

// TestManyStreamsComeBack: more of them than one tick puts back.
func TestManyStreamsComeBack(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	const n = 2*finishPerTick + 1
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

// TestClosedWhileSwept: a stream whose client hangs up before it was put back is not put back.
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

// TestClaimWithoutASlot: the worker was swept and could not join again yet. A claim then must not write a stream
// without an incarnation, which would make the whole bucket malformed.
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
	expect(t, told, first)
	expect(t, alive, second, bystander)
	if n := w.meter.counts[Malformed]; n != 0 {
		t.Errorf("%d malformed values met, want none", n)
	}
	w.settle(t)
}
