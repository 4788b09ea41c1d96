package registry

import (
	"errors"
	"strings"
	"testing"
)

// A worker has lost its slot, and cannot write another for some ticks. Meanwhile one of its
// streams is superseded, one is dismissed, and one ends. Once it has a slot again, all of this
// takes effect, and its other stream goes on.
func TestWorkerThatCannotRejoin(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	old, unwanted, ending, healthy := a.open("alice"), a.open("bob"), a.open("carol"), a.open("dave")
	b.open("erin")
	a.fence()
	a.port.before = func(c call) error {
		if c.name == "set" && strings.HasPrefix(c.on, keyPrefix+"w/") {
			return errBroken
		}
		return nil
	}
	tick := func() {
		w.now += 1000
		if _, err := a.tick(); !errors.Is(err, errBroken) {
			t.Fatalf("tick without a slot: %v, want the failed write", err)
		}
		if _, err := b.tick(); err != nil {
			t.Fatal(err)
		}
		w.deliver(t)
	}
	tick()
	expect(t, alive, old, unwanted, ending, healthy)
	successor := b.open("alice")
	if _, err := b.dismiss("bob"); err != nil {
		t.Fatal(err)
	}
	a.close(ending)
	for range 2 * missedTicks {
		tick()
	}
	expect(t, alive, successor, healthy)

	a.port.before = nil
	w.ticks(t, 3)
	expect(t, endedByMessage, old)
	expect(t, dismissed, unwanted)
	expect(t, alive, successor, healthy)
	w.settle(t)
	expect(t, alive, successor, healthy)
}
