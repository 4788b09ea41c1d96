package host_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// Every thread has its own timers. The next period begins when on_tick has returned, and missed
// ticks are not repeated.
func TestAdvance(t *testing.T) {
	t.Parallel()
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	w := newWorld(t, host.Config{Workers: 2, Start: start}, "tick: time")
	open(w.Worker(0), "request-headers", "tick 200")
	open(w.Worker(1), "request-headers", "tick 300")
	if n := w.Advance(199 * time.Millisecond); n != 0 {
		t.Errorf("got %d ticks in 199ms, want 0", n)
	}
	if n := w.Advance(401 * time.Millisecond); n != 5 { // at 200, 300, 400, 600 and 600
		t.Errorf("got %d ticks in 600ms, want 5", n)
	}
	var got []string
	for _, entry := range w.Logs().Containing("1 tick") {
		got = append(got, entry.Time.Sub(start).String()+" "+string(rune('0'+entry.Worker)))
	}
	want := []string{"200ms 0", "300ms 1", "400ms 0", "600ms 0", "600ms 1"}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("got ticks at %v, want %v", got, want)
		}
	}
	wantLog(t, w.Logs().OfWorker(1), "1 tick", "time -> Ok 1893456000300000000")

	w.SkipTime(time.Second)
	if n := w.Advance(0); n != 2 {
		t.Errorf("got %d ticks after a stall of 1s, want 2: one on each worker", n)
	}
	if n := w.Worker(0).Tick(); n != 1 {
		t.Errorf("got %d ticks of worker 0, want 1", n)
	}
	if n, now := w.Tick(), w.Now(); n != 1+1 && n != 1 || now.Sub(start) != 1800*time.Millisecond {
		t.Errorf("got %d ticks and the time %v, want the next timer's ticks, at 1.8s", n, now.Sub(start))
	}
}

func TestTickCanStopItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "tick: tick 0")
	open(w.Worker(0), "request-headers", "tick 10")
	if n := w.Advance(time.Hour); n != 1 {
		t.Errorf("got %d ticks, want 1", n)
	}
	if n := w.Tick(); n != 0 {
		t.Errorf("got %d ticks without a timer, want 0", n)
	}
}

// An item that one worker enqueues wakes the worker that registered the queue.
func TestQueueWakesAnotherWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "queue-ready: dequeue $; dequeue $")
	s := open(w.Worker(1), "request-headers", "register q1")
	open(w.Worker(0), "request-headers", "resolve _ q1; enqueue $ hello; enqueue $ again")
	if got := w.PendingWakeups(); len(got) != 2 || got[0] != (host.Wakeup{Worker: 1, ContextID: 1, Queue: 1}) {
		t.Errorf("got the pending wake-ups %+v, want two for context 1 of worker 1", got)
	}
	if w.Queues()["q1"] != 2 {
		t.Errorf("got the queue lengths %v, want q1: 2", w.Queues())
	}
	if len(w.Logs().Containing("queue-ready")) > 0 {
		t.Errorf("want no on_queue_ready before Run, got\n%s", w.Logs())
	}
	if n := w.Worker(0).Run(); n != 0 {
		t.Errorf("got %d wake-ups for worker 0, want 0", n)
	}
	if n := w.Run(); n != 2 { // one for each item, although the first callback takes both items
		t.Errorf("got %d wake-ups, want 2", n)
	}
	wantLog(t, w.Logs().OfWorker(1), "1 queue-ready", `dequeue $ -> Ok "hello"`, `dequeue $ -> Ok "again"`, "1 queue-ready", "dequeue $ -> Empty")
	if s.Ended() || w.Run() != 0 {
		t.Errorf("got the stream %v, want it open, and no more wake-ups", s.Ending())
	}
}

func TestLostWakeups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "queue-ready: dequeue $")
	open(w.Worker(1), "request-headers", "register q")
	open(w.Worker(0), "request-headers", "enqueue 1 a")
	if w.DropWakeups() != 1 || w.Run() != 0 || w.Queues()["q"] != 1 {
		t.Errorf("after DropWakeups: got %d pending wake-ups and the queue lengths %v, want 0 and q: 1", len(w.PendingWakeups()), w.Queues())
	}
	// A worker that has crashed loses its wake-ups too. The sender gets Ok all the same.
	open(w.Worker(0), "request-headers", "enqueue 1 b")
	w.Worker(1).Crash()
	open(w.Worker(0), "request-headers", "enqueue 1 c")
	wantLog(t, w.Logs().OfWorker(0), "enqueue 1 b -> Ok", "enqueue 1 c -> Ok")
	if n := w.Run(); n != 2 || len(w.Logs().Containing("queue-ready")) > 0 {
		t.Errorf("got %d wake-ups taken, want 2 and no on_queue_ready:\n%s", n, w.Logs())
	}
	// The plugin context of the new VM has the id of the old one, so it gets the wake-ups.
	if err := w.Worker(1).Reload(); err != nil {
		t.Fatal(err)
	}
	open(w.Worker(0), "request-headers", "enqueue 1 d")
	w.Run()
	wantLog(t, w.Logs().OfWorker(1), "crashed by the test", "1 queue-ready", `dequeue $ -> Ok "a"`)
}

// If every worker registers the same queue when it starts, the wake-ups go to the worker that
// starts last. This is why each worker of a filter needs its own queue.
func TestQueueRegisteredAtStartBelongsToTheLastWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "configure: register q; enqueue $ mine", "queue-ready: say woken")
	var woken []int
	for _, wakeup := range w.PendingWakeups() {
		woken = append(woken, wakeup.Worker)
	}
	if len(woken) != 4 || woken[0] != host.MainThread || woken[1] != host.MainThread || woken[3] != 1 {
		t.Errorf("got wake-ups for the threads %v, want the main thread twice, then the workers", woken)
	}
	// The wake-up of the canary reaches the main thread's own VM, whose plugin context has the same
	// id.
	w.Run()
	if n := len(w.Logs().OfWorker(host.MainThread).Containing("queue-ready")); n != 2 {
		t.Errorf("got %d wake-ups on the main thread, want 2", n)
	}
}

// Two guests that wake each other forever do not hang the test.
func TestRunIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: register q", "queue-ready: enqueue $ more")
	open(w.Worker(0), "request-headers", "enqueue 1 first")
	w.Intercept(func(c *host.Call) { // do not keep the log of 100,000 callbacks
		if c.Name == "proxy_log" {
			c.Answer(host.StatusOk)
		}
	})
	if n := w.Run(); n != 100_000 || len(w.PendingWakeups()) != 1 {
		t.Errorf("got %d wake-ups delivered and %d pending, want 100000 and 1", n, len(w.PendingWakeups()))
	}
}

// The wall clock can be set. The monotonic clock and the timers do not notice.
func TestSetWallClock(t *testing.T) {
	t.Parallel()
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	w := newWorld(t, host.Config{Workers: 1, Start: start}, "tick: time; clock 0; clock 1")
	open(w.Worker(0), "request-headers", "tick 1000")
	w.SetWallClock(-time.Hour)
	if n := w.Advance(time.Second); n != 1 {
		t.Errorf("got %d ticks in 1s, want 1", n)
	}
	hourBefore := strconv.FormatInt(start.Add(time.Second-time.Hour).UnixNano(), 10)
	wantLog(t, w.Logs(), "1 tick", "time -> Ok "+hourBefore)
	wantLog(t, w.Logs(), "1 tick", "clock 0 -> "+hourBefore, "clock 1 -> 2000000008") // began at 1 s
}
