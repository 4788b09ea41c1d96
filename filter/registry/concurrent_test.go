package registry

import (
	"runtime"
	"slices"
	"sync"
	"testing"
)

// Workers run at the same time, each in its own goroutine, and claim for the same clients. Their
// ticks are so uneven that they declare each other dead again and again. Run it under the race
// detector, too.
func TestConcurrentWorkers(t *testing.T) {
	const workers, clients, times = 4, 200, 20
	w := newWorld().small(6)
	for range workers {
		w.thread()
	}
	var group sync.WaitGroup
	for n, th := range w.threads {
		group.Go(func() {
			for i := range clients * times / workers {
				client := clientName((i*7 + n*13) % clients)
				if i%3 > 0 {
					client += []string{"/A", "/B"}[i%2]
				}
				th.open(client)
				if err := th.wake(); err != nil {
					t.Errorf("wake: %v", err)
				}
				if i%10 == n {
					_, _ = th.tick() // may be contended; settle checks what comes of it
				}
			}
		})
	}
	group.Wait()
	if len(w.opened) != clients*times {
		t.Fatalf("%d streams opened, want %d", len(w.opened), clients*times)
	}
	for _, s := range w.opened {
		s.err = nil // a contended claim, which a tick has finished
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
		t.Error("no worker was declared dead, so the test did not test that")
	}
}

// Workers compete for places under max_total_streams. At every write there are never too many
// streams.
func TestConcurrentWorkersUnderTotalLimit(t *testing.T) {
	const workers, times, keep = 4, 400, 6
	w := newWorld().small(4)
	w.total = workers * keep / 2 // too few for all
	for range workers {
		w.thread()
	}
	var group sync.WaitGroup
	for n, th := range w.threads {
		group.Go(func() {
			var mine []*stream
			for i := range times {
				mine = append(mine, th.open(clientName((i*7+n*13)%50)))
				if err := th.wake(); err != nil {
					t.Errorf("wake: %v", err)
				}
				mine = slices.DeleteFunc(mine, func(s *stream) bool { return s.fate != alive })
				if len(mine) >= keep {
					th.close(mine[0])
				}
				runtime.Gosched() // else, on a busy machine, one worker is done before the next begins
			}
		})
	}
	group.Wait()
	came := map[fate]int{}
	for _, s := range w.opened {
		came[s.fate]++
		s.err = nil // a contended claim, which a tick has finished
	}
	if came[refusedAtClaim] == 0 || came[endedByMessage] == 0 || came[closed] == 0 {
		t.Errorf("the streams' fates are %v, want some refused, some superseded and some closed", came)
	}
	w.settle(t)
	if err := w.checkRoom(); err != nil {
		t.Error(err)
	}
}
