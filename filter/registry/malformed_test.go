package registry

import "testing"

// TestMalformedBucket: the next claim starts the bucket afresh. The streams that were in it are lost to the registry
// and end at the next self-check.
//
// What nobody can know is how many there were: the gauge keeps counting them.
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
	if err != nil || len(entries) != 1 || entries[0].Stream != second.handle.as {
		t.Errorf("the registry holds %+v, %v; want the second stream", entries, err)
	}
	w.ticks(t, 1)
	expect(t, foundBy, first)
	expect(t, alive, second)

	w.meter.active[first.handle.Rule]--
	w.settle(t)
}

// TestMalformedBucketIsLeftToAClaim: reading one, by a tick or a release, neither fails nor writes.
func TestMalformedBucketIsLeftToAClaim(t *testing.T) {
	w := newWorld().small(0)
	a, b := w.thread(), w.thread()
	s, other := a.open("alice"), a.open("bob")
	if err := b.Join(); err != nil {
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
		t.Errorf("the bucket is %q", got)
	}
	w.ticks(t, 1)
	expect(t, foundBy, other)
}
