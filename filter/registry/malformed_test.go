package registry

import "testing"

// The next claim starts a malformed bucket afresh. The streams that were in it end at the second
// self-check after that. Nobody can know how many they were, so the gauge goes on counting them.
func TestMalformedBucket(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	first := a.open("alice")
	w.envoy.write(bucketKey(a.table.bucket(first.handle.Client)), []byte("junk"))
	second := b.open("alice")
	if n := w.meter.counts[Malformed]; n != 1 {
		t.Errorf("%d malformed values counted, want 1", n)
	}
	entries, err := w.registry()
	if err != nil || len(entries) != 1 || entries[0].Stream != second.handle.as() {
		t.Errorf("the registry holds %+v, %v; want the second stream", entries, err)
	}
	w.ticks(t, 2)
	expect(t, endedByCheck, first)
	expect(t, alive, second)

	w.meter.active[first.handle.Rule]--
	w.settle(t)
}

// A tick or a release that reads a malformed bucket neither fails nor writes it.
func TestMalformedBucketIsLeftToAClaim(t *testing.T) {
	w := newWorld().small(0)
	a, b := w.thread(), w.thread()
	s, other := a.open("alice"), a.open("bob")
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	w.envoy.write(bucketKey(0), []byte("junk"))
	a.close(s)
	if s.held || s.err != nil {
		t.Errorf("release: held %v, %v", s.held, s.err)
	}
	if found, err := b.tick(); err != nil || found.Deaths != 0 {
		t.Errorf("tick found %+v, %v", found, err)
	}
	if got := string(w.envoy.data[bucketKey(0)].value); got != "junk" {
		t.Errorf("the bucket is %q, want it untouched", got)
	}
	w.ticks(t, 2)
	expect(t, endedByCheck, other)
}

// A bucket that is started afresh does not count claims from 1 again. A stream that is put back
// into it is therefore older than the streams that came since.
func TestMalformedBucketGoesOnCounting(t *testing.T) {
	w := newWorld().small(0)
	a, b := w.thread(), w.thread()
	var first *stream
	for range 5 { // the stream's number is above what a new count from 1 would give
		first = a.open("alice")
	}
	w.deliver(t)
	if err := b.Join(w.now); err != nil {
		t.Fatal(err)
	}
	b.sweepNow(t, a)
	w.envoy.write(bucketKey(0), []byte("junk"))
	second := b.open("alice")
	if second.handle.claim <= first.handle.claim {
		t.Errorf("claim %d came after claim %d", second.handle.claim, first.handle.claim)
	}
	w.ticks(t, 2)
	expect(t, endedByMessage, first)
	expect(t, alive, second)
	w.settle(t)
}

// A stream is put back with a number that its bucket has not given yet. The bucket still parses
// afterwards, and the next claim is newer.
func TestPutBackIntoANewBucket(t *testing.T) {
	w := newWorld().small(0)
	a, b := w.thread(), w.thread()
	a.open("bob")
	first := a.open("alice")
	w.envoy.write(bucketKey(0), (&Bucket{}).Append(nil))
	w.meter.active[first.handle.Rule] = 0
	a.fence()
	w.ticks(t, 1)
	expect(t, alive, first)
	second := b.open("alice")
	if n := w.meter.counts[Malformed]; n != 0 || second.handle.claim <= first.handle.claim {
		t.Errorf("%d malformed values; claim %d came after claim %d", n, second.handle.claim, first.handle.claim)
	}
	w.settle(t)
	expect(t, endedByMessage, first)
	expect(t, alive, second)
}
