package registry

import (
	"errors"
	"testing"
)

// The registry rests on these rules of Envoy's shared data. A test on a store with other rules
// would prove nothing; the SDK's emulator, for instance, has others.
func TestEnvoyStoreRules(t *testing.T) {
	e := newEnvoy()
	p := &port{envoy: e}
	if _, _, err := p.Get("k"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("get of an absent key: %v", err)
	}
	value := []byte("one")
	if err := p.Set("k", value, 77); err != nil {
		t.Fatalf("an absent key is created whatever the cas: %v", err)
	}
	value[0] = 'X'
	got, cas, _ := p.Get("k")
	if string(got) != "one" || cas != 1 {
		t.Fatalf("got %q, cas %d", got, cas)
	}
	got[0] = 'X'
	if again, _, _ := p.Get("k"); string(again) != "one" {
		t.Fatalf("a change of the returned bytes changed the store: %q", again)
	}
	if err := p.Set("k", nil, Absent); !errors.Is(err, ErrCasMismatch) {
		t.Fatalf("create-if-absent of a present key: %v", err)
	}
	if err := p.Set("k", []byte("two"), 1); err != nil {
		t.Fatal(err)
	}
	if err := p.Set("k", []byte("late"), 1); !errors.Is(err, ErrCasMismatch) {
		t.Fatalf("a write on an old cas: %v", err)
	}
	if err := p.Set("k", nil, 0); err != nil {
		t.Fatalf("cas 0 overwrites: %v", err)
	}
	if got, cas, err := p.Get("k"); len(got) != 0 || cas != 3 || err != nil {
		t.Fatalf("an empty value is a value: %q, cas %d, %v", got, cas, err)
	}
	e.cas = 1<<32 - 1
	if err := p.Set("k", nil, 3); err != nil {
		t.Fatal(err)
	}
	if _, cas, _ := p.Get("k"); cas != 1 {
		t.Fatalf("cas wraps to %d, want 1", cas)
	}
}

func TestEnvoyQueueRules(t *testing.T) {
	e := newEnvoy()
	first, second := &port{envoy: e, listener: 1}, &port{envoy: e, listener: 2}
	token, _ := first.Register("q")
	if err := second.Enqueue(token, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if again, _ := second.Register("q"); again != token {
		t.Fatalf("registered again: token %d, was %d", again, token)
	}
	if err := first.Enqueue(token, []byte("b")); err != nil {
		t.Fatal(err)
	}
	if n, m := len(e.takeWakeups(1)), len(e.takeWakeups(2)); n != 1 || m != 1 {
		t.Fatalf("wake-ups: first listener %d, second %d; want 1 before the queue moved, and 1 after", n, m)
	}
	for _, want := range []string{"a", "b"} {
		if got, err := second.Dequeue(token); string(got) != want || err != nil {
			t.Fatalf("dequeued %q, %v; want %q", got, err, want)
		}
	}
	if _, err := second.Dequeue(token); !errors.Is(err, ErrEmpty) {
		t.Fatalf("dequeue of an empty queue: %v", err)
	}
	if err := second.Enqueue(token+1, nil); !errors.Is(err, ErrNotFound) {
		t.Fatalf("enqueue to a queue that nobody registered: %v", err)
	}
}
