package registry

import (
	"errors"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// says is what the thread's slot says about its streams.
func (t *thread) says() int {
	record, _ := ParseRecord(t.world.envoy.data[slotKey(t.owner.Slot)].value)
	return int(record.Live)
}

func TestTotalLimit(t *testing.T) {
	w := newWorld()
	w.total = 3
	a, b := w.thread(), w.thread()
	s1, s2, s3 := a.open("alice"), b.open("bob"), a.open("carol")
	refused := b.open("dave")
	expect(t, turnedAway, refused)
	if refused.verdict.Refusal != policy.Overloaded {
		t.Fatalf("verdict %+v, want overloaded", refused.verdict)
	}
	if a.says() != 2 || b.says() != 1 {
		t.Fatalf("the slots say %d and %d, want 2 and 1: the refused place was not given back", a.says(), b.says())
	}

	// A place that is freed can be used at once, by whichever worker.
	a.close(s1)
	s4 := b.open("dave")
	expect(t, alive, s2, s3, s4)
	expect(t, turnedAway, a.open("erin"), b.open("erin"))
	w.settle(t)
	expect(t, alive, s2, s3, s4)
}

// TestTotalLimitIsOff: then nobody's slot is written for a claim or a release.
func TestTotalLimitIsOff(t *testing.T) {
	w := newWorld()
	a := w.thread()
	if err := a.Join(w.now); err != nil {
		t.Fatal(err)
	}
	a.port.before = func(c call) error {
		if c.on == slotKey(0) {
			t.Errorf("a call %v", c)
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

// TestTotalLimitLetsTakeoversPass: they add no stream. What they make room for can be used once the superseded stream
// has been ended.
func TestTotalLimitLetsTakeoversPass(t *testing.T) {
	w := newWorld()
	w.total = 2
	a, b := w.thread(), w.thread()
	alice, bob := a.open("alice"), a.open("bob/A")
	second := b.open("alice")
	expect(t, alive, second)
	expect(t, turnedAway, b.open("carol"), a.open("carol")) // counted twice for now: rather one too few than one too many
	w.deliver(t)
	expect(t, told, alice)
	if a.says() != 1 || b.says() != 1 {
		t.Fatalf("the slots say %d and %d, want 1 and 1", a.says(), b.says())
	}
	again := b.open("bob/A") // a page that reconnects
	w.deliver(t)
	expect(t, told, bob)
	expect(t, turnedAway, a.open("carol"))
	b.close(second)
	expect(t, alive, a.open("carol"), again)
	w.settle(t)
}

// TestTotalLimitAndTakeoversOnABrokenStore: they do not ask how many others there are.
func TestTotalLimitAndTakeoversOnABrokenStore(t *testing.T) {
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
	expect(t, told, first)
	expect(t, alive, second)
	w.settle(t)
}

// TestTotalLimitAndTheSuccessor: the superseded stream is released, by its client, before its successor's worker has
// beaten again. The successor counts all the same.
func TestTotalLimitAndTheSuccessor(t *testing.T) {
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
	expect(t, turnedAway, third, c.open("bob"))
	w.settle(t)
}

// TestTotalLimitWhenTwoComeAtOnce: between one's look and write comes another. There are not too many; that there are
// too few is allowed.
func TestTotalLimitWhenTwoComeAtOnce(t *testing.T) {
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
			t.Errorf("interrupted before call %d: both came in", place)
		}
		w.settle(t)
		expect(t, alive, first)
		last := b.open("dave")
		if want := mine.fate != alive && other.fate != alive; (last.fate == alive) != want {
			t.Errorf("interrupted before call %d: with %s and %s, the next is %s", place, mine.fate, other.fate, last.fate)
		}
	}
	if places < 5 {
		t.Fatalf("only %d places to interrupt a claim", places)
	}
}

// TestTotalLimitOfTheDead: their streams count until they are swept, and no longer.
func TestTotalLimitOfTheDead(t *testing.T) {
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
	expect(t, turnedAway, b.open("carol"))
	w.ticks(t, 1)
	expect(t, alive, b.open("carol"), b.open("dave"))
	expect(t, turnedAway, b.open("erin"))
	w.settle(t)
}

// TestTotalLimitOnABrokenStore: a claim that cannot tell whether there is room is left to a tick, with nothing reserved.
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
			if !errors.Is(second.err, errBroken) || len(w.rank) != 1 || b.says() != 0 {
				t.Fatalf("claim: %v, %d streams in the store, the slot says %d", second.err, len(w.rank), b.says())
			}
			b.port.before, second.err = nil, nil
			w.ticks(t, 1)
			expect(t, alive, first, second)
			expect(t, turnedAway, a.open("carol"))
			w.settle(t)
		})
	}
}

// TestTotalLimitRefusesLate: a claim that was contended is refused by the tick, if there is no room by then; one that
// was never counted takes no place.
func TestTotalLimitRefusesLate(t *testing.T) {
	w := newWorld().small(0)
	w.total = 1
	a, b := w.thread(), w.thread()
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	b.port.before = failing("set", ErrCasMismatch)
	late := b.open("alice")
	if !errors.Is(late.err, ErrContended) || b.says() != 0 {
		t.Fatalf("claim: %v, and the slot says %d", late.err, b.says())
	}
	first := a.open("bob")
	expect(t, alive, first)
	b.port.before, late.err = nil, nil
	w.ticks(t, 1)
	expect(t, refused, late)
	expect(t, alive, first)
	if late.handle.Why() != ByRefusal || b.registered != 0 || b.says() != 0 {
		t.Errorf("why %d, %d registered, the slot says %d", late.handle.Why(), b.registered, b.says())
	}
	a.close(first)
	expect(t, alive, a.open("carol"))
	w.settle(t)
}

// TestTotalLimitIsGivenBackByARefusalOnTheSecondTry: there was room and a place, and another took the client's.
func TestTotalLimitIsGivenBackByARefusalOnTheSecondTry(t *testing.T) {
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
	expect(t, turnedAway, second)
	if b.says() != 0 {
		t.Errorf("the slot says %d, want 0", b.says())
	}
	w.settle(t)
}

// TestReleaseWhoseCountCannotBePublished: the stream is out; the next heartbeat says so.
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
	if a.says() != 0 {
		t.Errorf("the slot says %d", a.says())
	}
	w.settle(t)
}
