package registry

import (
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// expect fails the test unless this is the fate of all the streams.
func expect(t testing.TB, want fate, streams ...*stream) {
	t.Helper()
	for _, s := range streams {
		if s.err != nil {
			t.Errorf("stream %d of %s: %v", s.handle.Context, s.client, s.err)
		}
		if s.fate != want {
			t.Errorf("stream %d of %s is %s, want %s", s.handle.Context, s.client, s.fate, want)
		}
	}
}

func TestSecondStreamEndsTheFirst(t *testing.T) {
	for _, test := range []struct {
		name    string
		workers int
	}{{"on the same worker", 1}, {"on another worker", 2}} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			for range test.workers {
				w.thread()
			}
			first := w.threads[0].open("alice")
			bystander := w.threads[0].open("bob")
			second := w.threads[test.workers-1].open("alice")
			expect(t, alive, first, second) // nobody has been woken yet

			w.deliver(t)
			expect(t, endedByMessage, first)
			expect(t, alive, second, bystander)
			if first.held {
				t.Error("Release says that the first stream held its place to the end")
			}
			w.settle(t)
			expect(t, alive, second, bystander)
		})
	}
}

func TestClaimReturnsThoseThatYield(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	second := b.newStream("alice")
	w.now += 5000
	verdict, err := b.Claim(w.now, &second.handle)
	yielding := verdict.Superseded
	want := policy.Stream{Claim: 1, Owner: a.owner, Context: first.handle.Context, ClaimedAt: w.now - 5000}
	if err != nil || !slices.Equal(yielding, []policy.Stream{want}) {
		t.Fatalf("Claim returned %+v, %v; want %+v", yielding, err, want)
	}
	b.open("alice")
	b.open("bob")
	w.settle(t)
	if !slices.Equal(yielding, []policy.Stream{want}) {
		t.Fatalf("what Claim returned has changed to %+v", yielding)
	}
}

func TestOldestYields(t *testing.T) {
	w := newWorld()
	w.limits.MaxStreams = 3
	a, b := w.thread(), w.thread()
	s1, s2, s3 := a.open("alice"), b.open("alice"), a.open("alice")
	w.deliver(t)
	expect(t, alive, s1, s2, s3)

	s4 := b.open("alice")
	w.deliver(t)
	expect(t, endedByMessage, s1)
	expect(t, alive, s2, s3, s4)

	a.close(s3) // room for one more
	s5 := a.open("alice")
	w.deliver(t)
	expect(t, alive, s2, s4, s5)
	w.settle(t)
}

func TestLowerLimitEndsSeveral(t *testing.T) {
	w := newWorld()
	w.limits.MaxStreams = 3
	a, b := w.thread(), w.thread()
	s1, s2, s3 := a.open("alice"), b.open("alice"), a.open("alice")
	w.limits.MaxStreams = 1 // the configuration was updated
	s4 := b.open("alice")
	w.deliver(t)
	expect(t, endedByMessage, s1, s2, s3)
	expect(t, alive, s4)
	w.settle(t)
}

// A second claim of the same stream does nothing.
func TestClaimTwice(t *testing.T) {
	w := newWorld()
	a := w.thread()
	s := a.open("alice")
	if verdict, err := a.Claim(w.now, &s.handle); len(verdict.Superseded) != 0 || err != nil {
		t.Fatalf("claimed twice: %+v, %v", verdict, err)
	}
	a.close(s)
	if _, err := a.Claim(w.now, &s.handle); err != nil || len(a.mine()) != 0 {
		t.Fatalf("claimed after its end: %d live, %v", len(a.mine()), err)
	}
	w.settle(t)
}

func TestRulesDoNotShareClients(t *testing.T) {
	w := newWorld()
	a := w.thread()
	first := a.open("alice")
	w.rule = "orders"
	second := a.open("alice")
	w.deliver(t)
	expect(t, alive, first, second)
	w.settle(t)
}

func TestReleaseOfTheHolder(t *testing.T) {
	w := newWorld()
	a := w.thread()
	s := a.open("alice")
	a.close(s)
	if !s.held || s.err != nil {
		t.Fatalf("Release: held %v, %v", s.held, s.err)
	}
	if held, err := a.Release(&s.handle); held || err != nil {
		t.Fatalf("a second Release: held %v, %v", held, err)
	}
	if entries, _ := w.registry(); len(entries) != 0 || len(a.mine()) != 0 {
		t.Fatalf("left in the registry: %+v; on the worker: %d", entries, len(a.mine()))
	}
	w.settle(t)
}

// The client of the first stream hangs up before its worker hears of the second (release by name).
func TestReleaseLeavesTheSuccessor(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	second := b.open("alice")
	a.close(first)
	if first.held || first.err != nil {
		t.Errorf("Release: held %v, %v", first.held, first.err)
	}
	w.settle(t)
	expect(t, alive, second)
}

func TestReleaseTakesOnlyItsOwnPlace(t *testing.T) {
	w := newWorld().small(0) // all clients in one bucket
	w.limits.MaxStreams = 3
	a, b := w.thread(), w.thread()
	s1, s2, s3 := a.open("alice"), b.open("alice"), a.open("alice")
	bob, carol := b.open("bob"), a.open("carol")
	a.close(s1)
	b.close(bob)
	w.settle(t)
	expect(t, alive, s2, s3, carol)
}

// A rule that only observes counts takeovers and ends nothing.
func TestObservedStreams(t *testing.T) {
	w := newWorld()
	w.enforce = false
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	second := b.open("alice")
	w.deliver(t)
	w.ticks(t, 3)
	expect(t, alive, first, second)
	if first.handle.state != Out {
		t.Error("the owner of the first stream was not told")
	}
	calls := w.envoy.calls
	a.close(first)
	if first.held || w.envoy.calls != calls {
		t.Errorf("Release of a superseded stream: held %v, %d calls", first.held, w.envoy.calls-calls)
	}
	b.close(second)
	if !second.held {
		t.Error("Release says that the newest stream did not hold its place")
	}
	w.settle(t)
}

// An observed stream lives on, too, if the message about its takeover is lost.
func TestObservedStreamWithoutAMessage(t *testing.T) {
	w := newWorld()
	w.enforce = false
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	b.open("alice")
	w.loseMessages(a)
	w.ticks(t, 3)
	expect(t, alive, first)
	if first.handle.state != Out || w.meter.counts[LostWakeup] != 1 {
		t.Errorf("state %d, %d lost wake-ups; want the stream found once", first.handle.state, w.meter.counts[LostWakeup])
	}
	w.settle(t)
}

// A context id may come back after a crash. A message with another incarnation, claim number or
// context id ends nothing.
func TestMessageForAnotherLife(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	s := a.open("alice")
	b.open("bob")
	right := Message{Address: Address{Incarnation: a.owner.Incarnation, Claim: s.handle.claim, Context: s.handle.Context, Bucket: a.table.bucket(s.handle.Client)}, Kind: Yield}
	for _, wrong := range []func(*Message){
		func(m *Message) { m.Incarnation++ },
		func(m *Message) { m.Claim++ },
		func(m *Message) { m.Context++ },
		func(m *Message) { m.Bucket++ },
		func(m *Message) { m.Bucket = 1 << 31 },
	} {
		m := right
		wrong(&m)
		if err := b.port.Enqueue(a.queue, m.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	w.deliver(t)
	expect(t, alive, s)
	w.settle(t)
	if err := b.port.Enqueue(a.queue, right.Append(nil)); err != nil {
		t.Fatal(err)
	}
	w.deliver(t)
	expect(t, endedByMessage, s) // the correct message ends the stream, so the others failed for the one field that was changed
}
