package host_test

import (
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// Timers are per thread, re-armed after on_tick, and never made up for.
func TestAdvance(t *testing.T) {
	t.Parallel()
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	w := newWorld(t, host.Config{Workers: 2, Start: start}, "tick: time")
	open(w.Worker(0), "request-headers", "tick 200")
	open(w.Worker(1), "request-headers", "tick 300")
	if n := w.Advance(199 * time.Millisecond); n != 0 {
		t.Errorf("%d ticks in 199ms, want none", n)
	}
	if n := w.Advance(401 * time.Millisecond); n != 5 { // 200 300 400 600 600
		t.Errorf("%d ticks in 600ms, want 5", n)
	}
	var got []string
	for _, entry := range w.Logs().Containing("1 tick") {
		got = append(got, entry.Time.Sub(start).String()+" "+string(rune('0'+entry.Worker)))
	}
	want := []string{"200ms 0", "300ms 1", "400ms 0", "600ms 0", "600ms 1"}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("ticks: got %v, want %v", got, want)
		}
	}
	wantLog(t, w.Logs().OfWorker(1), "1 tick", "time -> Ok 1893456000300000000")

	w.SkipTime(time.Second)
	if n := w.Advance(0); n != 2 {
		t.Errorf("%d ticks after a stall of a second, want one a worker", n)
	}
	if n := w.Worker(0).Tick(); n != 1 {
		t.Errorf("%d ticks, want 1", n)
	}
	if n, now := w.Tick(), w.Now(); n != 1+1 && n != 1 || now.Sub(start) != 1800*time.Millisecond {
		t.Errorf("%d ticks at %v, want the next timer's, 200ms on", n, now.Sub(start))
	}
}

func TestTickCanStopItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "tick: tick 0")
	open(w.Worker(0), "request-headers", "tick 10")
	if n := w.Advance(time.Hour); n != 1 {
		t.Errorf("%d ticks, want 1", n)
	}
	if n := w.Tick(); n != 0 {
		t.Errorf("%d ticks without a timer", n)
	}
}

// An item enqueued on one worker wakes the worker that registered.
func TestQueueWakesAnotherWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "queue-ready: dequeue $; dequeue $")
	s := open(w.Worker(1), "request-headers", "register q1")
	open(w.Worker(0), "request-headers", "resolve _ q1; enqueue $ hello; enqueue $ again")
	if got := w.PendingWakeups(); len(got) != 2 || got[0] != (host.Wakeup{Worker: 1, ContextID: 1, Queue: 1}) {
		t.Errorf("pending: got %+v", got)
	}
	if w.Queues()["q1"] != 2 {
		t.Errorf("queues: got %v", w.Queues())
	}
	if len(w.Logs().Containing("queue-ready")) > 0 {
		t.Error("woken before Run")
	}
	if n := w.Worker(0).Run(); n != 0 {
		t.Errorf("%d wake-ups for worker 0, want none", n)
	}
	if n := w.Run(); n != 2 { // one an item, though the first takes both
		t.Errorf("%d wake-ups, want 2", n)
	}
	wantLog(t, w.Logs().OfWorker(1), "1 queue-ready", `dequeue $ -> Ok "hello"`, `dequeue $ -> Ok "again"`, "1 queue-ready", "dequeue $ -> Empty")
	if s.Ended() || w.Run() != 0 {
		t.Error("a wake-up disturbed the stream, or was left")
	}
}

func TestLostWakeups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "queue-ready: dequeue $")
	open(w.Worker(1), "request-headers", "register q")
	open(w.Worker(0), "request-headers", "enqueue 1 a")
	if w.DropWakeups() != 1 || w.Run() != 0 || w.Queues()["q"] != 1 {
		t.Errorf("after a loss: %d pending, queues %v", len(w.PendingWakeups()), w.Queues())
	}
	// A listener that is gone loses them too, and the sender is told Ok.
	open(w.Worker(0), "request-headers", "enqueue 1 b")
	w.Worker(1).Crash()
	open(w.Worker(0), "request-headers", "enqueue 1 c")
	wantLog(t, w.Logs().OfWorker(0), "enqueue 1 b -> Ok", "enqueue 1 c -> Ok")
	if n := w.Run(); n != 2 || len(w.Logs().Containing("queue-ready")) > 0 {
		t.Errorf("%d taken, or delivered to the dead:\n%s", n, w.Logs())
	}
	// The plugin context of a new VM has the old one's id, and is woken for it.
	if err := w.Worker(1).Reload(); err != nil {
		t.Fatal(err)
	}
	open(w.Worker(0), "request-headers", "enqueue 1 d")
	w.Run()
	wantLog(t, w.Logs().OfWorker(1), "crashed by the test", "1 queue-ready", `dequeue $ -> Ok "a"`)
}

// A queue registered at start ends up with the last worker: why a filter needs a
// queue a worker.
func TestQueueRegisteredAtStartBelongsToTheLastWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "configure: register q; enqueue $ mine", "queue-ready: say woken")
	var woken []int
	for _, wakeup := range w.PendingWakeups() {
		woken = append(woken, wakeup.Worker)
	}
	if len(woken) != 4 || woken[0] != host.MainThread || woken[1] != host.MainThread || woken[3] != 1 {
		t.Errorf("wake-ups of the four starts: got %v", woken)
	}
	// The canary's reaches the main thread's VM, which took its place and its id.
	w.Run()
	if n := len(w.Logs().OfWorker(host.MainThread).Containing("queue-ready")); n != 2 {
		t.Errorf("%d wake-ups on the main thread, want 2", n)
	}
}

// Two guests that wake each other for ever do not hang the test.
func TestRunIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: register q", "queue-ready: enqueue $ more")
	open(w.Worker(0), "request-headers", "enqueue 1 first")
	w.Intercept(func(c *host.Call) { // keep it short: the guest's log is not of interest
		if c.Name == "proxy_log" {
			c.Answer(host.StatusOk)
		}
	})
	if n := w.Run(); n != 100_000 || len(w.PendingWakeups()) != 1 {
		t.Errorf("%d delivered, %d pending", n, len(w.PendingWakeups()))
	}
}
