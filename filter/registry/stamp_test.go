package registry

import "testing"

// While etcd does not answer, two workers choose stamps for streams of one client in the same
// millisecond. The one with the larger stamp comes to the store first, or the stamps are equal. The
// bucket can be read all the same, and all streams in it live.
func TestStampsOfOneMillisecond(t *testing.T) {
	for name, stamps := range map[string][2]uint64{"the larger first": {8, 7}, "equal": {8, 8}, "the smaller first": {7, 8}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld().small(0) // one bucket for all
			w.limits.MaxStreams = 2
			a, b := w.thread(), w.thread()
			other := a.open("bob")
			b.open("carol")
			var streams []*stream
			for i, thread := range []*thread{a, b} {
				s := thread.newStream("alice")
				s.handle.Stamp = 1<<60 + stamps[i]
				if s.err = thread.claim(s); s.err != nil {
					t.Fatal(s.err)
				}
				streams = append(streams, s)
			}
			w.ticks(t, 5)
			expect(t, alive, other, streams[0], streams[1])
			if n := w.meter.counts[Malformed]; n > 0 {
				t.Errorf("%d buckets were malformed, want none", n)
			}
		})
	}
}
