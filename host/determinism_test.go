package host_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// trace runs a script that depends on everything in a guest's environment: random numbers, Go's map
// order, both clocks, the garbage collector and reloads. It returns every hostcall, log line,
// shared value and metric.
func trace(t *testing.T, seed uint64) string {
	w := newWorld(t, host.Config{Workers: 3, Seed: seed, FailurePolicy: host.FailReload},
		"configure: random 8; mapwalk; tick 70; register q", "tick: mapwalk; clock 0; clock 1; set tick x 0; enqueue 1 i", "queue-ready: dequeue $; random 16")
	var out strings.Builder
	w.Intercept(func(c *host.Call) {
		fmt.Fprintln(&out, c.Worker, c.ContextID, c.Name, c.Key, c.Queue, c.Proceed())
	})
	for i := range 30 {
		worker := w.Worker(i % 3)
		s := open(worker, "request-headers", fmt.Sprintf("random 32; mapwalk; clock 1; alloc %d; set k%d v 0", i%2, i))
		s.ResponseHeaders(host.Response(200), true)
		w.Advance(40 * time.Millisecond)
		w.Run()
		if i%10 == 9 {
			worker.Crash()
			w.SkipTime(1300 * time.Millisecond) // within the jitter, so the seed decides whether the back-off is over
		}
	}
	fmt.Fprintln(&out, w.Logs(), w.SharedData(), w.Metrics())
	return out.String()
}

func TestSameSeedSameTrace(t *testing.T) {
	t.Parallel()
	first := strings.Split(trace(t, 42), "\n")
	again := strings.Split(trace(t, 42), "\n")
	for i := range first {
		if i >= len(again) || first[i] != again[i] {
			t.Fatalf("line %d: got %q in the first run and %q in the second, want the same", i, first[i], again[min(i, len(again)-1)])
		}
	}
	if other := trace(t, 43); other == strings.Join(first, "\n") {
		t.Error("got the same trace for seeds 42 and 43, want different ones")
	}
}

// Each VM gets different random numbers, even though one seed determines them all.
func TestVMsGetDifferentRandomNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "configure: random 8")
	seen := make(map[string]bool)
	for _, entry := range w.Logs().Containing("random 8") {
		if seen[entry.Message] {
			t.Errorf("got %q in two VMs, want different numbers", entry.Message)
		}
		seen[entry.Message] = true
	}
	if len(seen) != 4 {
		t.Errorf("got %d different numbers, want 4: one for each VM", len(seen))
	}
}

// Worlds of one module run in parallel.
func TestWorldsShareNothing(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{Workers: 2})
			open(w.Worker(1), "request-headers", fmt.Sprintf("get k; set k v%d 0; get k", i))
			wantLog(t, w.Logs(), "get k -> NotFound", fmt.Sprintf(`get k -> Ok "v%d" cas 1`, i))
		})
	}
}
