package registry

import (
	"errors"
	"fmt"
	"testing"
)

// place puts a stream into the registry under a stamp.
func (t *thread) place(s *stream, stamp uint64) {
	s.handle.Stamp = 1<<60 + stamp
	var done Done
	done, s.err = t.Place(t.world.now, &s.handle)
	t.did(done)
	if s.handle.Why() != 0 { // it has no place: the caller ends it
		t.end([]*Stream{&s.handle})
	}
}

// Two streams of a client are placed at two workers. The one with the larger stamp stays, whichever
// comes first, and the owner of the other is told.
func TestPlaceKeepsTheNewest(t *testing.T) {
	for name, stamps := range map[string][2]uint64{"in order": {7, 8}, "late": {8, 7}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			a, b := w.thread(), w.thread()
			a.open("bob")
			b.open("carol") // both have joined
			first, second := a.newStream("alice"), b.newStream("alice")
			a.place(first, stamps[0])
			b.place(second, stamps[1])
			w.deliver(t)
			old, fresh := first, second
			if stamps[0] > stamps[1] {
				old, fresh = second, first
			}
			if old.handle.State() != Released || old.handle.Why() != BySuccessor {
				t.Errorf("the older stream is %v, why %d, want it ended for its successor", old.handle.State(), old.handle.Why())
			}
			if got, err := a.Newest(fresh.handle.Client); err != nil || got != fresh.handle.Stamp {
				t.Errorf("the newest stream has %d (%v), want %d", got, err, fresh.handle.Stamp)
			}
			w.ticks(t, 3)
			expect(t, alive, fresh)
		})
	}
}

// The store fails. The streams are in all the same, and a tick puts them into the registry.
func TestPlaceThatFailsIsFinishedByATick(t *testing.T) {
	for _, fault := range bucketFaults {
		t.Run(fault.name, func(t *testing.T) {
			w := newWorld()
			a := w.thread()
			for i := range 8 * checksPerTick { // a tick does not look at the buckets of all
				a.open(fmt.Sprint("bob", i))
			}
			a.port.before = fault.before
			var placed []*stream
			for i := range 20 {
				s := a.newStream(fmt.Sprint("alice", i))
				a.place(s, 7)
				if !errors.Is(s.err, fault.want) {
					t.Fatalf("place: %v, want %v", s.err, fault.want)
				}
				s.err = nil
				placed = append(placed, s)
			}
			a.port.before = nil
			w.ticks(t, 3)
			for _, s := range placed {
				if got := s.handle.State(); got != Registered {
					t.Fatalf("after three ticks %s is %v, want it registered", s.client, got)
				}
			}
			expect(t, alive, placed...)
		})
	}
}
