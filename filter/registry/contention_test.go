package registry

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// errBroken is the error of a store that does not work.
var errBroken = errors.New("broken")

func isBucketKey(key string) bool { return strings.HasPrefix(key, keyPrefix+"b/") }

func isBucket(c call) bool { return isBucketKey(c.on) }

// failing makes the named call fail on every bucket.
func failing(name string, err error) func(call) error {
	return func(c call) error {
		if c.name == name && isBucket(c) {
			return err
		}
		return nil
	}
}

// bucketFaults are the ways in which a store can fail a claim or a release.
var bucketFaults = []struct {
	name   string
	before func(call) error
	want   error
	calls  int // at most
}{
	{"every race is lost", failing("set", ErrCasMismatch), ErrContended, 2*casAttempts + 4}, // and the announcement of a message, which is taken back
	{"writes fail", failing("set", errBroken), errBroken, 2 + 4},
	{"reads fail", failing("get", errBroken), errBroken, 1},
}

func TestClaimThatFailsIsFinishedByATick(t *testing.T) {
	for _, fault := range bucketFaults {
		t.Run(fault.name, func(t *testing.T) {
			w := newWorld()
			a, b := w.thread(), w.thread()
			first := a.open("alice")
			if err := b.Join(w.now); err != nil {
				t.Fatal(err)
			}
			tried := 0
			b.port.before = func(c call) error {
				tried++
				return fault.before(c)
			}
			second := b.open("alice")
			if !errors.Is(second.err, fault.want) {
				t.Fatalf("claim: %v, want %v", second.err, fault.want)
			}
			if tried > fault.calls {
				t.Errorf("%d calls, want at most %d", tried, fault.calls)
			}
			contended := 0 // other errors of the store are not counted
			if errors.Is(fault.want, ErrContended) {
				contended = 1
			}
			if n := w.meter.counts[Contended]; n != contended {
				t.Errorf("%d contended, want %d", n, contended)
			}
			if _, err := b.tick(); !errors.Is(err, fault.want) {
				t.Errorf("tick: %v, want %v", err, fault.want)
			}
			w.deliver(t)
			expect(t, alive, first)

			b.port.before, second.err = nil, nil
			w.ticks(t, 1)
			expect(t, endedByMessage, first)
			expect(t, alive, second)
			w.settle(t)
			if n := w.meter.counts[Contended]; n != contended {
				t.Errorf("%d contended in the end, want %d", n, contended)
			}
		})
	}
}

func TestReleaseThatFailsIsFinishedByATick(t *testing.T) {
	for _, fault := range bucketFaults {
		t.Run(fault.name, func(t *testing.T) {
			w := newWorld()
			a := w.thread()
			s := a.open("alice")
			a.port.before = fault.before
			a.close(s)
			if s.held || !errors.Is(s.err, fault.want) { // whether it held its place is not known yet
				t.Fatalf("release: held %v, %v; want %v", s.held, s.err, fault.want)
			}
			if _, err := a.tick(); !errors.Is(err, fault.want) {
				t.Errorf("tick: %v, want %v", err, fault.want)
			}
			a.port.before = nil
			w.ticks(t, 1)
			if entries, _ := w.registry(); len(entries) != 0 {
				t.Errorf("left in the registry: %+v", entries)
			}
			w.settle(t)
		})
	}
}

// A stream that ends while its claim is pending is not registered afterwards.
func TestClosedBeforeItsClaimSucceeds(t *testing.T) {
	w := newWorld()
	a := w.thread()
	if err := a.Join(w.now); err != nil {
		t.Fatal(err)
	}
	a.port.before = failing("set", ErrCasMismatch)
	s := a.open("alice")
	a.close(s)
	if s.held || s.err != nil { // it never had a place
		t.Errorf("release: held %v, %v", s.held, s.err)
	}
	a.port.before = nil
	w.ticks(t, 1)
	if len(w.rank) != 0 {
		t.Error("a closed stream was registered")
	}
	w.settle(t)
}

// A claim that a tick finishes is as new as a claim made at that time.
func TestLateClaimIsTheNewest(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	if err := a.Join(w.now); err != nil {
		t.Fatal(err)
	}
	a.port.before = failing("set", ErrCasMismatch)
	first := a.open("alice")
	a.port.before, first.err = nil, nil
	second := b.open("alice")
	found, err := a.tick()
	if err != nil || len(found.Claimed) != 1 {
		t.Fatalf("tick found %+v, %v; want one takeover", found, err)
	}
	if got := found.Claimed[0]; got.Stream != &first.handle || got.Refusal != 0 || !slices.Equal(got.Superseded, []policy.Stream{second.handle.as()}) {
		t.Fatalf("claim %+v; want the second stream to yield to the first", got)
	}
	w.deliver(t)
	expect(t, alive, first)
	expect(t, endedByMessage, second)
	w.settle(t)
}

// If one bucket stays contended, a tick still finishes the claims and releases in other buckets.
func TestContendedBucketDelaysNoOther(t *testing.T) {
	w := newWorld()
	a := w.thread()
	closing := a.open("eve")
	a.port.before = failing("set", ErrCasMismatch)
	stuck := a.open("alice")
	rest := []*stream{a.open("bob"), a.open("carol")}
	a.close(closing)

	contended := bucketKey(a.table.bucket(stuck.handle.Client))
	a.port.before = func(c call) error {
		if c.on == contended && c.name == "set" {
			return ErrCasMismatch
		}
		return nil
	}
	if _, err := a.tick(); !errors.Is(err, ErrContended) {
		t.Fatalf("tick: %v", err)
	}
	for _, s := range rest {
		if s.handle.claim == 0 {
			t.Errorf("%s is not registered", s.client)
		}
	}
	if entries, _ := w.registry(); len(entries) != len(rest) {
		t.Errorf("the registry holds %+v, want bob and carol", entries)
	}
	a.port.before = nil
	w.settle(t)
}

// A claim that loses a race decides afresh. Nothing of its first verdict is left.
func TestClaimDecidesAfreshAfterALostRace(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	between := true
	b.port.before = func(c call) error {
		if c.name == "set" && isBucket(c) && between {
			between = false
			a.close(first) // b is about to supersede it
		}
		return nil
	}
	s := b.newStream("alice")
	verdict, err := b.Claim(w.now, &s.handle)
	if len(verdict.Superseded) != 0 || verdict.Refusal != 0 || err != nil || between {
		t.Fatalf("Claim returned %+v, %v, the first stream ended meanwhile %v; want nobody to yield", verdict, err, !between)
	}
	if !first.held || s.handle.claim != 2 {
		t.Errorf("first held %v, second's claim number %d", first.held, s.handle.claim)
	}
	w.settle(t)
}
