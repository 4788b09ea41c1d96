package registry

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// state is what a refusal must leave unchanged.
func (w *world) state() (buckets map[string]string, active map[RuleID]int, counts map[Event]int) {
	buckets = map[string]string{}
	for key, d := range w.envoy.data {
		if isBucketKey(key) {
			buckets[key] = string(d.value)
		}
	}
	return buckets, maps.Clone(w.meter.active), maps.Clone(w.meter.counts)
}

// For every reason: no bucket is written, no message is sent, no gauge moves, and the stream does
// not belong to the worker.
func TestRefusalChangesNothing(t *testing.T) {
	for _, test := range []struct {
		why     policy.Refusal
		limits  policy.Limits
		total   int
		before  []string
		refused string
		wait    policy.Millis
	}{
		{why: policy.Duplicate, limits: policy.Limits{MaxStreams: 1, RejectNew: true}, before: []string{"alice"}, refused: "alice"},
		{why: policy.Superseded, limits: policy.Limits{MaxStreams: 1}, before: []string{"alice/A", "alice/B"}, refused: "alice/A"},
		{why: policy.TakeoverLimit, limits: policy.Limits{MaxStreams: 1, TakeoverLimit: policy.TokenBucket{MaxTokens: 1, TokensPerFill: 1, FillInterval: 7 * policy.Second}},
			before: []string{"alice", "alice"}, refused: "alice", wait: 7 * policy.Second},
		{why: policy.Overloaded, limits: policy.Limits{MaxStreams: 1}, total: 2, before: []string{"alice", "bob"}, refused: "carol"},
	} {
		t.Run(test.why.String(), func(t *testing.T) {
			w := newWorld().small(0)
			w.limits, w.total = test.limits, test.total
			a, b := w.thread(), w.thread()
			for _, client := range test.before {
				expect(t, alive, a.open(client))
			}
			w.deliver(t)
			if err := b.Join(w.now); err != nil {
				t.Fatal(err)
			}
			buckets, active, counts := w.state()
			b.port.before = func(c call) error {
				if c.name != "get" && (c.name != "set" || c.on != slotKey(b.owner.Slot)) {
					t.Errorf("a refusal makes the call %v, want reads and the own slot only", c)
				}
				return nil
			}
			s := b.open(test.refused)
			expect(t, refusedAtClaim, s)
			if s.verdict.Refusal != test.why || s.verdict.Wait != test.wait || len(s.verdict.Superseded) != 0 {
				t.Errorf("verdict %+v, want %v after %v", s.verdict, test.why, test.wait)
			}
			if s.handle.Why() != 0 || len(b.mine()) != 0 || len(b.unfinished) != 0 || b.registered != 0 {
				t.Errorf("the worker keeps the stream: %d streams, %d unfinished, %d registered", len(b.mine()), len(b.unfinished), b.registered)
			}
			if held, err := b.Release(&s.handle); held || err != nil {
				t.Errorf("release: held %v, %v", held, err)
			}
			nowBuckets, nowActive, nowCounts := w.state()
			if !maps.Equal(buckets, nowBuckets) || !maps.Equal(active, nowActive) || !maps.Equal(counts, nowCounts) {
				t.Errorf("a refusal changed something:\n%q, was\n%q\n%v %v, was %v %v", nowBuckets, buckets, nowActive, nowCounts, active, counts)
			}
			// The verdict does not share memory with what the worker reads next.
			b.port.before = nil
			next := slices.Clone(s.verdict.Next.Streams)
			b.open("zoe")
			b.open("yves")
			if !slices.Equal(next, s.verdict.Next.Streams) {
				t.Errorf("the verdict has changed to %+v, was %+v", s.verdict.Next.Streams, next)
			}
			w.settle(t)
		})
	}
}

// The same handle may be claimed again after a refusal.
func TestRefusedStreamMayTryAgain(t *testing.T) {
	w := newWorld()
	w.limits.RejectNew = true
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	second := b.open("alice")
	expect(t, refusedAtClaim, second)
	a.close(first)
	second.fate = alive
	if second.err = b.claim(second); second.err != nil || second.verdict.Refusal != 0 {
		t.Fatalf("claimed again: %+v, %v", second.verdict, second.err)
	}
	w.settle(t)
	expect(t, alive, second)
}

func TestRejectNew(t *testing.T) {
	w := newWorld()
	w.limits = policy.Limits{MaxStreams: 2, RejectNew: true}
	a, b := w.thread(), w.thread()
	s1, s2 := a.open("alice/A"), b.open("alice")
	third := b.open("alice/C")
	expect(t, refusedAtClaim, third, a.open("alice"))
	other := b.open("bob")
	w.deliver(t)
	expect(t, alive, s1, s2, other)

	again := b.open("alice/A") // the same instance, whose old connection is dead
	w.deliver(t)
	expect(t, endedByMessage, s1)
	expect(t, alive, s2, again)

	b.close(s2)
	fourth := a.open("alice")
	expect(t, alive, fourth)
	w.settle(t)
	expect(t, alive, again, fourth, other)
}

// Two client programs are on two workers, and each reconnects at once when it is cut off. They take
// over from each other until the tokens are spent. The verdict then says when the next token comes.
func TestTakeoverLimitHoldsAcrossWorkers(t *testing.T) {
	w := newWorld()
	w.limits.TakeoverLimit = policy.TokenBucket{MaxTokens: 3, TokensPerFill: 1, FillInterval: 30 * policy.Second}
	a, b := w.thread(), w.thread()
	a.open("alice")
	takeovers := 0
	for n := range 10 {
		w.now += 100
		if s := []*thread{b, a}[n%2].open("alice"); s.fate == alive {
			takeovers++
		}
		w.deliver(t)
	}
	if takeovers != 3 {
		t.Fatalf("%d takeovers, want one for each of 3 tokens", takeovers)
	}
	refused := b.open("alice")
	if want := 30*policy.Second - 900; refused.verdict.Refusal != policy.TakeoverLimit || refused.verdict.Wait != want {
		t.Fatalf("%+v, want to wait for %v", refused.verdict, want)
	}
	expect(t, alive, b.open("bob")) // another client has tokens of its own
	w.now += int64(refused.verdict.Wait) - 1
	expect(t, refusedAtClaim, a.open("alice"))
	w.now++
	expect(t, alive, a.open("alice"))
	expect(t, refusedAtClaim, b.open("alice"))
	w.settle(t)
}

// Superseded instances and spent tokens are remembered as long as the client has a stream.
func TestMemoryGoesWithTheLastStream(t *testing.T) {
	w := newWorld().small(0)
	w.limits = policy.Limits{MaxStreams: 2, TakeoverLimit: policy.TokenBucket{MaxTokens: 5, TokensPerFill: 1, FillInterval: policy.Hour}}
	a, b := w.thread(), w.thread()
	a.open("alice/A")
	second := b.open("alice/B")
	third := a.open("alice/C") // A yields
	bob := b.open("bob/A")
	w.deliver(t)
	spent := policy.Spent{Tokens: 1, Since: w.now}
	remembered := func() policy.Client {
		t.Helper()
		b, err := ParseBucket(w.envoy.data[bucketKey(0)].value)
		if err != nil {
			t.Fatal(err)
		}
		return b.client(second.handle.Client)
	}
	b.close(bob)
	b.close(second)
	if got := remembered(); !slices.Equal(got.Superseded, []policy.Instance{'A'}) || got.Spent != spent || len(got.Streams) != 1 {
		t.Fatalf("after the second stream's end: %+v", got)
	}
	a.close(third)
	// The spent token is remembered until it is there again.
	if got := remembered(); got.Spent != spent || got.Until != w.now+int64(policy.Hour) || len(got.Superseded) != 0 {
		t.Fatalf("after the last stream's end: %+v", got)
	}
	w.now += int64(policy.Hour)
	w.ticks(t, 1)
	if len(w.envoy.data[bucketKey(0)].value) != bucketHeaderSize {
		t.Fatalf("an hour after the last stream's end the bucket holds %x", w.envoy.data[bucketKey(0)].value)
	}
	first := b.open("alice/A")
	expect(t, alive, first)
	if got := remembered(); len(got.Superseded) != 0 || got.Spent != (policy.Spent{}) {
		t.Fatalf("after a new start: %+v", got)
	}
	w.settle(t)
}

// A sweep removes the dead worker's streams from an entry, and keeps the rest of it.
func TestMemorySurvivesASweep(t *testing.T) {
	for name, sweep := range map[string]func(*testing.T, *world, *thread){
		"by a tick": func(t *testing.T, w *world, _ *thread) { w.ticks(t, 2) },
		"by a claim": func(_ *testing.T, _ *world, b *thread) {
			b.open("alice/B") // reconnects
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld().small(0)
			w.limits.MaxStreams = 2
			a, b := w.thread(), w.thread()
			a.open("alice/A")
			b.open("alice/B")
			a.open("alice/C")
			w.deliver(t)
			a.crash()
			a.fence()
			sweep(t, w, b)
			w.ticks(t, 1)
			bucket, err := ParseBucket(w.envoy.data[bucketKey(0)].value)
			if err != nil || len(bucket.Entries) != 1 || len(bucket.Entries[0].Streams) != 1 || !slices.Equal(bucket.Entries[0].Superseded, []policy.Instance{'A'}) {
				t.Fatalf("after the sweep: %+v, %v", bucket, err)
			}
			w.settle(t)
		})
	}
}

// Peek says what a claim would do, and changes nothing. It does not even remove orphans.
func TestPeek(t *testing.T) {
	w := newWorld().small(4)
	w.limits.MaxStreams, w.limits.RejectNew, w.total = 2, true, 3
	a, b := w.thread(), w.thread()
	a.open("alice")
	b.open("alice")
	b.open("bob")
	for _, test := range []struct {
		client string
		want   policy.Refusal
		meanwhile
	}{
		{"alice", policy.Duplicate, nil},
		{"bob", policy.Overloaded, nil},
		{"carol", policy.Overloaded, nil},
		{"alice", 0, func() { // a place is free, but the orphan is still there
			a.crash()
			a.fence()
			if _, _, err := b.readSlot(a.owner.Slot); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		if test.meanwhile != nil {
			test.meanwhile()
		}
		s := b.newStream(test.client)
		verdict := b.peek(t, s)
		if verdict.Refusal != test.want {
			t.Errorf("peek for %s: %+v, want %v", test.client, verdict, test.want)
		}
		if s.err = b.claim(s); !equal(s.verdict, verdict) || s.err != nil {
			t.Errorf("claim for %s: %+v, %v; peek said %+v", test.client, s.verdict, s.err, verdict)
		}
	}
	b.open("alice")
	w.settle(t)
}

type meanwhile func()

// peek calls Peek and checks that it changes nothing.
func (t *thread) peek(tb fataler, s *stream) policy.Verdict {
	tb.Helper()
	inner := t.port.before
	defer func() { t.port.before = inner }()
	t.port.before = func(c call) error {
		if c.name != "get" {
			tb.Fatalf("peek makes the call %v, want reads only", c)
		}
		return nil
	}
	_, active, counts := t.world.state()
	verdict, err := t.Peek(t.world.now, &s.handle)
	if err != nil {
		tb.Fatalf("peek: %v", err)
	}
	_, nowActive, nowCounts := t.world.state()
	if !maps.Equal(active, nowActive) || !maps.Equal(counts, nowCounts) {
		tb.Fatalf("peek changed the meter to %v %v, was %v %v", nowActive, nowCounts, active, counts)
	}
	if s.handle.state != Unclaimed || s.handle.claim != 0 {
		tb.Fatalf("peek changed the stream to %+v", s.handle)
	}
	return verdict
}

// fataler is a test of package testing or of rapid.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func equal(v, w policy.Verdict) bool {
	return v.Refusal == w.Refusal && v.Wait == w.Wait && slices.Equal(v.Superseded, w.Superseded) &&
		slices.Equal(v.Next.Streams, w.Next.Streams) && slices.Equal(v.Next.Superseded, w.Next.Superseded) && v.Next.Spent == w.Next.Spent
}

// If the store fails, Peek returns the error and no verdict.
func TestPeekOnABrokenStore(t *testing.T) {
	w := newWorld()
	w.total = 5
	a := w.thread()
	a.open("alice")
	s := a.newStream("bob")
	for _, key := range []string{bucketKey(a.table.bucket(s.handle.Client)), slotKey(0)} {
		a.port.before = func(c call) error {
			if c.on == key {
				return errBroken
			}
			return nil
		}
		if verdict, err := a.Peek(w.now, &s.handle); err == nil || !equal(verdict, policy.Verdict{}) {
			t.Errorf("%s is broken: peek says %+v, %v", key, verdict, err)
		}
	}
}

// Peek does not write the bucket, though it decides without the orphans in it.
func TestPeekWritesNothing(t *testing.T) {
	w := newWorld().small(0)
	w.limits.MaxStreams = 2
	a, b := w.thread(), w.thread()
	a.open("alice")
	b.open("alice")
	was := bytes.Clone(w.envoy.data[bucketKey(0)].value)
	a.crash()
	a.fence()
	b.peek(t, b.newStream("alice"))
	if got := w.envoy.data[bucketKey(0)].value; !bytes.Equal(got, was) {
		t.Fatalf("the bucket is %x, was %x", got, was)
	}
	w.opened[2].fate = closed // it was never claimed
	w.settle(t)
}
