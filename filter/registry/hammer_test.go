package registry

import (
	"sync"
	"testing"
)

// TestHammer lets workers run at the same time, each in its own goroutine, and fight for the same clients. Their ticks
// keep no time at all, so that they take each other for dead again and again. For the race detector, too.
func TestHammer(t *testing.T) {
	const workers, clients, times = 4, 200, 20
	w := newWorld().small(6)
	for range workers {
		w.thread()
	}
	var group sync.WaitGroup
	for n, th := range w.threads {
		group.Go(func() {
			for i := range clients * times / workers {
				th.open(clientName((i*7 + n*13) % clients))
				if err := th.wake(); err != nil {
					t.Errorf("wake: %v", err)
				}
				if i%10 == n {
					_, _ = th.tick() // contended now and then; what counts is how it ends
				}
			}
		})
	}
	group.Wait()
	if len(w.opened) != clients*times {
		t.Fatalf("%d streams opened, want %d", len(w.opened), clients*times)
	}
	for _, s := range w.opened {
		s.err = nil // contended, and finished by a tick
	}
	w.settle(t)
	entries, err := w.registry()
	if err != nil || len(entries) != clients {
		t.Fatalf("%d streams in the registry, %v; want one for each of %d clients", len(entries), err, clients)
	}
	live := map[string]int{}
	for _, s := range w.opened {
		if s.fate == alive {
			live[s.client]++
		}
	}
	for i := range clients {
		if n := live[clientName(i)]; n != 1 {
			t.Errorf("%s has %d live streams, want 1", clientName(i), n)
		}
	}
	if w.meter.counts[Swept] == 0 {
		t.Error("no worker was taken for dead: the test has lost its edge")
	}
}
