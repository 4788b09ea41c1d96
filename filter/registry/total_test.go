package registry

import (
	"errors"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// slotCount is the number of streams that the thread's slot says it has.
func (t *thread) slotCount() int {
	record, _ := ParseRecord(t.world.envoy.data[slotKey(t.owner.Slot)].value)
	return int(record.Live)
}

func TestTotalLimit(t *testing.T) {
	w := newWorld()
	w.total = 3
	a, b := w.thread(), w.thread()
	s1, s2, s3 := a.open("alice"), b.open("bob"), a.open("carol")
	refused := b.open("dave")
	expect(t, refusedAtClaim, refused)
	if refused.verdict.Refusal != policy.Overloaded {
		t.Fatalf("verdict %+v, want overloaded", refused.verdict)
	}
	if a.slotCount() != 2 || b.slotCount() != 1 {
		t.Fatalf("the slots say %d and %d, want 2 and 1: the refused place was not given back", a.slotCount(), b.slotCount())
	}

	// A place that is freed can be used at once, by whichever worker.
	a.close(s1)
	s4 := b.open("dave")
	expect(t, alive, s2, s3, s4)
	expect(t, refusedAtClaim, a.open("erin"), b.open("erin"))
	w.settle(t)
	expect(t, alive, s2, s3, s4)
}

// Without a limit a claim or a release does not touch the worker's slot.
func TestTotalLimitIsOff(t *testing.T) {
	w := newWorld()
	a := w.thread()
	if err := a.Join(w.now); err != nil {
		t.Fatal(err)
	}
	a.port.before = func(c call) error {
		if c.on == slotKey(0) {
			t.Errorf("a claim or release makes the call %v", c)
		}
		return nil
	}
	a.close(a.open("alice"))
	a.open("alice")
	a.open("alice")
	if _, err := a.Wake(w.now, a.queue); err != nil {
		t.Fatal(err)
	}
}

// A takeover adds no stream, so the limit does not refuse it. Until the superseded stream has
// ended, both count.
func TestTotalLimitLetsTakeoversPass(t *testing.T) {
	w := newWorld()
	w.total = 2
	a, b := w.thread(), w.thread()
	alice, bob := a.open("alice"), a.open("bob/A")
	second := b.open("alice")
	expect(t, alive, second)
	expect(t, refusedAtClaim, b.open("carol"), a.open("carol")) // alice counts twice for now, so there may be one stream too few, but never one too many
	w.deliver(t)
	expect(t, endedByMessage, alice)
	if a.slotCount() != 1 || b.slotCount() != 1 {
		t.Fatalf("the slots say %d and %d, want 1 and 1", a.slotCount(), b.slotCount())
	}
	again := b.open("bob/A") // an instance that reconnects
	w.deliver(t)
	expect(t, endedByMessage, bob)
	expect(t, refusedAtClaim, a.open("carol"))
	b.close(second)
	expect(t, alive, a.open("carol"), again)
	w.settle(t)
}

// A takeover does not read the other workers' slots.
func TestTakeoverReadsNoOtherSlot(t *testing.T) {
	w := newWorld()
	w.total = 1
	b, a := w.thread(), w.thread()
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	first := a.open("alice")
	if _, err := b.Workers(); err != nil {
		t.Fatal(err)
	}
	b.port.before = func(c call) error {
		if c == (call{"get", slotKey(1)}) {
			return errBroken
		}
		return nil
	}
	second := b.open("alice")
	b.port.before = nil
	w.deliver(t)
	expect(t, endedByMessage, first)
	expect(t, alive, second)
	w.settle(t)
}

// The client of the superseded stream hangs up before the successor's worker has beaten again. The
// successor counts already.
func TestTotalLimitCountsTheSuccessor(t *testing.T) {
	w := newWorld().small(0)
	w.total = 1
	a, b, c := w.thread(), w.thread(), w.thread()
	first := a.open("alice")
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	if err := c.Join(w.now); err != nil {
		t.Fatal(err)
	}
	third := (*stream)(nil)
	b.port.before = once(func(c call) bool { return c.name == "enqueue" }, func() {
		a.close(first)
		third = c.open("bob")
	})
	second := b.open("alice")
	expect(t, alive, second)
	expect(t, refusedAtClaim, third, c.open("bob"))
	w.settle(t)
}

// A second stream comes in between the first one's read and write. There are never too many
// streams; there may be one too few.
func TestTotalLimitWithTwoNewcomers(t *testing.T) {
	places := 0
	for place := 1; ; place++ {
		w := newWorld().small(0)
		w.total = 2
		a, b := w.thread(), w.thread()
		first := a.open("alice")
		if err := b.Join(w.now); err != nil {
			t.Fatal(err)
		}
		var other *stream
		n := 0
		b.port.before = func(call) error {
			if n++; n == place {
				other = a.open("bob")
			}
			return nil
		}
		mine := b.open("carol")
		b.port.before = nil
		if n < place {
			break
		}
		places++
		if mine.fate == alive && other.fate == alive {
			t.Errorf("interrupted before call %d: both streams were let in", place)
		}
		w.settle(t)
		expect(t, alive, first)
		last := b.open("dave")
		if want := mine.fate != alive && other.fate != alive; (last.fate == alive) != want {
			t.Errorf("interrupted before call %d: with %s and %s, the next is %s", place, mine.fate, other.fate, last.fate)
		}
	}
	if places < 5 {
		t.Fatalf("interrupted a claim at %d calls, want at least 5", places)
	}
}

// The streams of a dead worker count until its slot is taken, and no longer.
func TestTotalLimitCountsDeadWorkers(t *testing.T) {
	w := newWorld().small(4)
	w.total = 2
	a, b := w.thread(), w.thread()
	a.open("alice")
	a.open("bob")
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	w.ticks(t, 1)
	a.crash()
	w.ticks(t, missedTicks-1)
	expect(t, refusedAtClaim, b.open("carol"))
	w.ticks(t, 1)
	expect(t, alive, b.open("carol"), b.open("dave"))
	expect(t, refusedAtClaim, b.open("erin"))
	w.settle(t)
}

// A claim that cannot learn whether there is room is left to a tick, and reserves nothing.
func TestTotalLimitOnABrokenStore(t *testing.T) {
	for name, broken := range map[string]func(call) bool{
		"own slot":       func(c call) bool { return c == call{"set", slotKey(1)} },
		"another's slot": func(c call) bool { return c == call{"get", slotKey(0)} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld().small(4)
			w.total = 2
			a, b := w.thread(), w.thread()
			first := a.open("alice")
			if err := b.Join(w.now); err != nil {
				t.Fatal(err)
			}
			b.port.before = func(c call) error {
				if broken(c) {
					return errBroken
				}
				return nil
			}
			second := b.open("bob")
			if !errors.Is(second.err, errBroken) || len(w.rank) != 1 || b.slotCount() != 0 {
				t.Fatalf("claim: %v, %d streams in the store, the slot says %d", second.err, len(w.rank), b.slotCount())
			}
			b.port.before, second.err = nil, nil
			w.ticks(t, 1)
			expect(t, alive, first, second)
			expect(t, refusedAtClaim, a.open("carol"))
			w.settle(t)
		})
	}
}

// A tick refuses a contended claim if there is no room by then. The claim's stream never counted.
func TestTotalLimitRefusesALateClaim(t *testing.T) {
	w := newWorld().small(0)
	w.total = 1
	a, b := w.thread(), w.thread()
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	b.port.before = failing("set", ErrCasMismatch)
	late := b.open("alice")
	if !errors.Is(late.err, ErrContended) || b.slotCount() != 0 {
		t.Fatalf("claim: %v, and the slot says %d", late.err, b.slotCount())
	}
	first := a.open("bob")
	expect(t, alive, first)
	b.port.before, late.err = nil, nil
	w.ticks(t, 1)
	expect(t, refusedByTick, late)
	expect(t, alive, first)
	if late.handle.Why() != ByRefusal || b.registered != 0 || b.slotCount() != 0 {
		t.Errorf("why %d, %d registered, the slot says %d", late.handle.Why(), b.registered, b.slotCount())
	}
	a.close(first)
	expect(t, alive, a.open("carol"))
	w.settle(t)
}

// A claim reserves a place and loses a race. Its second try is refused, and gives the place back.
func TestRefusalAfterALostRaceGivesThePlaceBack(t *testing.T) {
	w := newWorld().small(0)
	w.total, w.limits.RejectNew = 5, true
	a, b := w.thread(), w.thread()
	if err := a.Join(w.now); err != nil {
		t.Fatal(err)
	}
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	var first *stream
	b.port.before = once(func(c call) bool { return c.name == "set" && isBucket(c) }, func() { first = a.open("alice") })
	second := b.open("alice")
	expect(t, alive, first)
	expect(t, refusedAtClaim, second)
	if b.slotCount() != 0 {
		t.Errorf("the slot says %d, want 0", b.slotCount())
	}
	w.settle(t)
}

// If a release cannot write the new count into the slot, the next heartbeat does.
func TestReleaseWhoseCountCannotBePublished(t *testing.T) {
	w := newWorld().small(0)
	w.total = 2
	a := w.thread()
	s := a.open("alice")
	a.port.before = func(c call) error {
		if c == (call{"set", slotKey(0)}) {
			return errBroken
		}
		return nil
	}
	a.close(s)
	if !s.held || s.err != nil || len(a.unfinished) != 0 {
		t.Fatalf("release: held %v, %v; %d unfinished", s.held, s.err, len(a.unfinished))
	}
	a.port.before = nil
	w.ticks(t, 1)
	if a.slotCount() != 0 {
		t.Errorf("the slot says %d", a.slotCount())
	}
	w.settle(t)
}

// A stream passes from one worker to another while a third adds up the slots: it has read that of
// the new owner before, and reads that of the old owner after. The stream counts all the same.
func TestTotalLimitWhileAStreamPasses(t *testing.T) {
	w := newWorld().small(4)
	w.total = 2
	taker, giver, third := w.thread(), w.thread(), w.thread()
	taker.open("carol")
	giver.open("alice")
	if err := third.Join(w.now); err != nil {
		t.Fatal(err)
	}
	third.port.before = once(func(c call) bool { return c == call{"get", slotKey(giver.owner.Slot)} }, func() {
		taker.open("alice")
		w.deliver(t)
	})
	s := third.open("dave")
	third.port.before = nil
	expect(t, refusedAtClaim, s)
	w.settle(t)
}
