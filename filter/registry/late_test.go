package registry

import (
	"errors"
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// openContended is a stream whose claim loses every race, and is left to a tick.
func (t *thread) openContended(tb testing.TB, client string) *stream {
	tb.Helper()
	if err := t.Join(t.world.now); err != nil {
		tb.Fatal(err)
	}
	t.port.before = failing("set", ErrCasMismatch)
	s := t.open(client)
	t.port.before = nil
	if !errors.Is(s.err, ErrContended) || s.fate != alive {
		tb.Fatalf("claim: %v, %s", s.err, s.fate)
	}
	s.err = nil
	return s
}

// A contended claim let its stream live. The tick that finishes the claim finds that the rule
// refuses it. The stream ends then, if the rule is enforced.
func TestLateClaimIsRefused(t *testing.T) {
	for _, test := range []struct {
		why    policy.Refusal
		limits policy.Limits
		late   string
		before []string // opened by the other worker before the claim
		since  []string // opened by the other worker between the claim and the tick
	}{
		{policy.Duplicate, policy.Limits{MaxStreams: 1, RejectNew: true}, "alice", nil, []string{"alice"}},
		{policy.Superseded, policy.Limits{MaxStreams: 1}, "alice/A", []string{"alice/A"}, []string{"alice/B"}},
		{policy.TakeoverLimit, policy.Limits{MaxStreams: 1, TakeoverLimit: policy.TokenBucket{MaxTokens: 1, TokensPerFill: 1, FillInterval: policy.Minute}},
			"alice", nil, []string{"alice", "alice"}},
	} {
		for _, enforce := range []bool{true, false} {
			name, want := test.why.String(), refusedByTick
			if !enforce {
				name, want = name+", observed", alive
			}
			t.Run(name, func(t *testing.T) {
				w := newWorld().small(0)
				w.limits, w.enforce = test.limits, enforce
				a, b := w.thread(), w.thread()
				for _, client := range test.before {
					a.open(client)
				}
				late := b.openContended(t, test.late)
				for _, client := range test.since {
					a.open(client)
				}
				w.deliver(t)
				buckets, _, _ := w.state()
				w.now += 1000
				found, err := b.tick()
				if err != nil || len(found.Claimed) != 1 || found.Claimed[0].Stream != &late.handle || found.Claimed[0].Refusal != test.why {
					t.Fatalf("tick found %+v, %v; want %v", found, err, test.why)
				}
				expect(t, want, late)
				if late.handle.Why() != ByRefusal || b.registered != 0 {
					t.Errorf("why %d, %d registered", late.handle.Why(), b.registered)
				}
				if now, _, _ := w.state(); now[bucketKey(0)] != buckets[bucketKey(0)] {
					t.Errorf("the refusal wrote the bucket: %x", now[bucketKey(0)])
				}
				w.now += 1000
				if found, err := b.tick(); err != nil || len(found.Claimed)+len(found.End) != 0 {
					t.Errorf("the next tick found %+v, %v", found, err)
				}
				w.settle(t)
				if !enforce {
					calls := w.envoy.calls
					b.close(late)
					if late.held || late.err != nil || w.envoy.calls != calls {
						t.Errorf("release: held %v, %v", late.held, late.err)
					}
				}
			})
		}
	}
}

// The verdicts of one tick share no memory, though the worker reads all buckets into the same one.
func TestLateVerdictsAreIndependent(t *testing.T) {
	w := newWorld().small(0)
	w.limits.RejectNew = true
	a, b := w.thread(), w.thread()
	var late []*stream
	for _, client := range []string{"alice", "bob", "carol"} {
		late = append(late, b.openContended(t, client))
	}
	for _, client := range []string{"carol", "alice", "bob"} {
		a.open(client)
	}
	found, err := b.tick()
	if err != nil || len(found.Claimed) != 3 {
		t.Fatalf("tick found %+v, %v", found, err)
	}
	for i, claimed := range found.Claimed {
		holder := slices.IndexFunc(w.opened, func(s *stream) bool { return s.on == a && s.client == late[i].client })
		if claimed.Stream != &late[i].handle || !slices.Equal(claimed.Next.Streams, []policy.Stream{w.opened[holder].handle.as()}) {
			t.Errorf("verdict on %s: %+v", late[i].client, claimed.Verdict)
		}
	}
	w.settle(t)
}

// A release was contended. The tick that finishes it reports whether the stream held its place, and
// once only.
func TestLateRelease(t *testing.T) {
	for _, test := range []struct {
		name      string
		meanwhile func(a, b *thread)
		held      bool
	}{
		{"held to the end", func(*thread, *thread) {}, true},
		{"superseded since", func(_, b *thread) { b.open("alice") }, false},
		{"swept since", func(a, b *thread) {
			a.fence()
			if _, err := b.tick(); err != nil {
				panic(err)
			}
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld().small(0)
			a, b := w.thread(), w.thread()
			s := a.open("alice")
			b.open("bob")
			a.port.before = failing("set", ErrCasMismatch)
			a.close(s)
			if s.held || !errors.Is(s.err, ErrContended) {
				t.Fatalf("release: held %v, %v", s.held, s.err)
			}
			found, err := a.tick()
			if len(found.Released) != 0 || !errors.Is(err, ErrContended) {
				t.Fatalf("contended again, tick found %+v, %v", found, err)
			}
			a.port.before, s.err = nil, nil
			test.meanwhile(a, b)
			released := 0
			for range 4 {
				w.now += 1000
				found, err := a.tick()
				if err != nil {
					t.Fatal(err)
				}
				released += len(found.Released)
			}
			if s.held != test.held || released > 1 || (released == 1) != test.held {
				t.Errorf("held %v, reported %d times; want %v", s.held, released, test.held)
			}
			w.settle(t)
		})
	}
}

// A stream waits to be put back, and its old name is still in the registry. Release says that it
// held its place, and no tick says so again.
func TestReleaseWhileReturning(t *testing.T) {
	w := newWorld().small(0)
	a := w.thread()
	s := a.open("alice")
	a.fence()
	a.port.before = failing("set", ErrCasMismatch)
	if _, err := a.tick(); !errors.Is(err, ErrContended) { // it joins again, but cannot put the stream back yet
		t.Fatalf("tick: %v", err)
	}
	a.port.before = nil
	a.close(s)
	if !s.held || s.err != nil {
		t.Fatalf("release: held %v, %v", s.held, s.err)
	}
	for range 2 {
		if found, err := a.tick(); err != nil || len(found.Released) != 0 {
			t.Fatalf("tick found %+v, %v", found, err)
		}
	}
	w.settle(t)
}
