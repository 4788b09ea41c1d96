package registry

import (
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// A claim begins with what the peek before it has read. If that is not in the store any more, or if
// nothing is to be written, or a tick has passed, the claim reads the bucket itself.
func TestClaimAfterPeek(t *testing.T) {
	for _, c := range []struct {
		name    string
		between func(w *world, a, b *thread)
		want    []string
		refusal policy.Refusal
	}{
		{"nothing happens", func(*world, *thread, *thread) {}, []string{"set"}, 0},
		{"another bucket is peeked at", func(_ *world, a, _ *thread) { a.lookAt("bob") }, []string{"set"}, 0},
		{"the client opens a stream", func(_ *world, _, b *thread) { b.open("alice") }, []string{"set", "get"}, policy.Duplicate},
		{"a stream that came meanwhile is gone", func(_ *world, _, b *thread) { b.close(b.open("alice")) }, []string{"set", "get", "set"}, 0},
		{"the client is peeked at again", func(w *world, a, b *thread) { b.close(b.open("alice")); a.lookAt("alice") }, []string{"set"}, 0},
		{"a tick", func(_ *world, a, _ *thread) {
			if _, err := a.tick(); err != nil {
				t.Error(err)
			}
		}, []string{"get", "set"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.limits.RejectNew = true
			a, b := w.thread(), w.thread()
			a.open("carol")
			b.open("dave")
			s := a.newStream("alice")
			a.peek(t, s)
			c.between(w, a, b)
			var calls []string
			a.port.before = func(c call) error {
				if isBucket(c) {
					calls = append(calls, c.name)
				}
				return nil
			}
			s.err = a.claim(s)
			a.port.before = nil
			if s.err != nil || s.verdict.Refusal != c.refusal || !slices.Equal(calls, c.want) {
				t.Errorf("claim: %v, %v, after the calls %q; want %v and %q", s.verdict.Refusal, s.err, calls, c.refusal, c.want)
			}
		})
	}
}

// lookAt has the worker peek for a stream that is never claimed.
func (t *thread) lookAt(client string) {
	s := Stream{Client: t.table.Client(t.world.rule, []byte(client)), Limits: t.world.limitsNow()}
	if _, err := t.Peek(t.world.now, &s); err != nil {
		panic(err)
	}
}

// What a peek has read does not hide the streams that came after it.
func TestDismissAfterPeek(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	a.open("bob")
	a.lookAt("alice")
	s := b.open("alice")
	if n, err := a.dismiss("alice"); n != 1 || err != nil {
		t.Fatalf("dismissed %d streams, %v; want the one that came after the peek", n, err)
	}
	w.deliver(t)
	expect(t, dismissed, s)
}
