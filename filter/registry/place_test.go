package registry

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// place puts a stream into the registry under a stamp.
func (t *thread) place(s *stream, stamp uint64) { t.placeWith(s, stamp, policy.Memory{}) }

// placeWith also brings what the fleet remembers of the client.
func (t *thread) placeWith(s *stream, stamp uint64, memory policy.Memory) {
	s.handle.Stamp = 1<<60 + stamp
	var done Done
	done, s.err = t.Place(t.world.now, &s.handle, memory)
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

// What the fleet remembers of a client counts when this Envoy has to decide alone, and outlives the
// client's streams. Only the newest stream brings it: an older one has an older memory.
func TestPlaceRemembersTheClient(t *testing.T) {
	w := newWorld()
	a := w.thread()
	a.open("bob") // it has joined
	spent := policy.Spent{Tokens: 3, Since: w.now}
	memory := policy.Memory{Spent: spent, Superseded: []policy.Instance{7}}
	newest, late := a.newStream("alice"), a.newStream("alice")
	limits := policy.Limits{MaxStreams: 2, TakeoverLimit: policy.TokenBucket{MaxTokens: 3, TokensPerFill: 1, FillInterval: policy.Minute}}
	newest.handle.Limits, late.handle.Limits = &limits, &limits
	a.placeWith(newest, 8, memory)
	a.placeWith(late, 7, policy.Memory{Spent: policy.Spent{Tokens: 1, Since: w.now}})
	client := func() policy.Client {
		if _, _, err := a.look(bucketKey(a.table.bucket(newest.handle.Client))); err != nil {
			t.Fatal(err)
		}
		return a.bucket.client(newest.handle.Client).At(w.now)
	}
	if got := client(); len(got.Streams) != 2 || got.Spent != spent || !slices.Equal(got.Superseded, memory.Superseded) {
		t.Errorf("the registry has %+v, want two streams and %+v", got, memory)
	}
	third := a.newStream("alice")
	third.handle.Limits, third.handle.Stamp = &limits, 1<<60+9
	if v, err := a.Claim(w.now, &third.handle); err != nil || v.Refusal != policy.TakeoverLimit {
		t.Errorf("a third stream is refused for %q (%v), want takeover_limit", v.Refusal, err)
	}
	third.handle.Instance = 7
	if v, err := a.Claim(w.now, &third.handle); err != nil || v.Refusal != policy.Superseded {
		t.Errorf("the superseded instance is refused for %q (%v), want superseded", v.Refusal, err)
	}
	a.end([]*Stream{&newest.handle, &late.handle})
	if got := client(); got.Spent != spent {
		t.Errorf("after its streams have ended the client has spent %+v, want %+v", got.Spent, spent)
	}
}
