package registry

import (
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// A stream has lost its place by the self-check, and says goodbye. Then the message of the claim
// that superseded it comes after all. The claim waits for the stream's end, and must hear of it.
func TestLateMessageForAWaitingClaim(t *testing.T) {
	w := newWorld().small(0)
	a, b := w.thread(), w.thread()
	old := a.open("alice")
	b.open("bob")
	fresh := b.newStream("alice")
	fresh.handle.Wait = true
	if fresh.err = b.claim(fresh); fresh.err != nil || fresh.handle.Awaits() != 1 {
		t.Fatalf("%v; the claim awaits %d ends, want 1", fresh.err, fresh.handle.Awaits())
	}
	a.port.before = func(c call) error {
		if c.name == "dequeue" {
			return errBroken
		}
		return nil
	}
	for range 2 {
		_, _ = a.Tick(w.now) // its queue cannot be read
	}
	if old.handle.Why() != ByLoss {
		t.Fatalf("the old stream is %v, %d, want it ended by the self-check", old.handle.State(), old.handle.Why())
	}
	a.port.before = nil
	if done, err := a.Wake(w.now, a.queue); err != nil || len(done.End) != 0 {
		t.Fatalf("%+v, %v; the stream was named before", done, err)
	}
	old.fate = endedByCheck
	if _, err := a.Release(&old.handle); err != nil {
		t.Fatal(err)
	}
	done, err := b.Wake(w.now, b.queue)
	if err != nil || len(done.End) != 1 || done.End[0] != &fresh.handle || fresh.handle.Awaits() != 0 {
		t.Fatalf("%+v, %v; the claim awaits %d ends, want its wait over", done, err, fresh.handle.Awaits())
	}
}

// A stream that is put back, and loses its place at once to a newer one, waits for nobody: though
// an older stream loses its place with it.
func TestReturnThatYieldsWaitsForNobody(t *testing.T) {
	w := newWorld().small(0)
	w.limits = policy.Limits{MaxStreams: 3, RejectNew: true}
	a, b := w.thread(), w.thread()
	oldest := b.open("alice")
	if err := a.Join(w.now); err != nil {
		t.Fatal(err)
	}
	back := a.newStream("alice")
	back.handle.Wait = true
	if back.err = a.claim(back); back.err != nil {
		t.Fatal(back.err)
	}
	b.open("alice/A")
	w.ticks(t, 1)
	a.fence()
	if _, err := b.tick(); err != nil { // removes it
		t.Fatal(err)
	}
	w.limits = policy.Limits{MaxStreams: 1, RejectNew: true}
	newest := b.open("alice/A") // reconnects: two streams stay, under a limit of one
	if newest.fate != alive {
		t.Fatalf("the newest stream is %v", newest.fate)
	}
	w.deliver(t)
	w.now += 1000
	if _, err := a.Tick(w.now); err != nil {
		t.Fatal(err)
	}
	if back.handle.Why() != BySuccessor || back.handle.Awaits() != 0 {
		t.Fatalf("the stream that was put back is out for %d and awaits %d ends, want it superseded, and none", back.handle.Why(), back.handle.Awaits())
	}
	a.end([]*Stream{&back.handle})
	w.deliver(t)
	expect(t, endedByMessage, oldest)
	expect(t, alive, newest)
	w.settle(t)
}
