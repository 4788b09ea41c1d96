package host_test

import (
	"errors"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// A trap is a result: the stream gets 503, the VM is dead, its other streams are
// cut at their next callback, and no callback is made any more.
func TestTrap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "configure: tick 1000")
	held := open(w.Worker(0))
	begun := open(w.Worker(0))
	begun.ResponseHeaders(host.Response(200), false)
	elsewhere := open(w.Worker(1))

	s := open(w.Worker(0), "request-headers", "panic ouch")
	if r := s.LocalReply(); r == nil || r.Status != 503 || s.Details() != "wasm_fail_stream" || s.Ending() != host.Completed {
		t.Errorf("the stream that trapped: got %+v, %q, %v", r, s.Details(), s.Ending())
	}
	if !w.Worker(0).Failed() || len(w.Logs().Containing("proxy_on_request_headers failed")) != 1 {
		t.Errorf("failed: %v\n%s", w.Worker(0).Failed(), w.Logs())
	}
	lines := len(w.Logs())

	if held.Ended() || begun.Ended() {
		t.Error("other streams were cut before their next callback")
	}
	held.ResponseHeaders(host.Response(200), false)
	if r := held.LocalReply(); r == nil || r.Status != 503 {
		t.Errorf("a stream whose response had not begun: got %+v", r)
	}
	begun.ResponseBody([]byte("x"), false)
	if !begun.WasReset() || len(begun.ToClient().Body) > 0 {
		t.Errorf("a stream in its response: got %v, %q", begun.Ending(), begun.ToClient().Body)
	}
	if r := open(w.Worker(0)).LocalReply(); r == nil || r.Status != 503 {
		t.Errorf("a new stream: got %+v", r)
	}
	if n := w.Worker(0).Tick(); n != 0 {
		t.Errorf("%d ticks in a dead VM", n)
	}
	if more := w.Logs()[lines:]; len(more) > 0 {
		t.Errorf("the dead VM was called:\n%s", more)
	}
	elsewhere.ResponseHeaders(host.Response(200), true)
	if elsewhere.Ending() != host.Completed {
		t.Errorf("a stream on another worker: got %v", elsewhere.Ending())
	}
}

func TestTrapInResponse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2})
	s := open(w.Worker(0), "response-headers", "panic")
	s.ResponseHeaders(host.Response(200), false)
	if v, _ := s.ToClient().Headers.Get(":status"); v != "503" || s.Ending() != host.Completed {
		t.Errorf("trap before the response began: got %+v, %v", s.ToClient(), s.Ending())
	}
	s = open(w.Worker(1), "response-body", "panic")
	s.ResponseHeaders(host.Response(200), false)
	s.ResponseBody([]byte("x"), false)
	if v, _ := s.ToClient().Headers.Get(":status"); v != "200" || !s.WasReset() {
		t.Errorf("trap after the response began: got %+v, %v", s.ToClient(), s.Ending())
	}
}

func TestFailOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{FailurePolicy: host.FailOpen})
	s := open(w.Worker(0), "request-headers", "panic")
	later := open(w.Worker(0))
	for _, s := range []*host.Stream{s, later} {
		s.ResponseHeaders(host.Response(200), false)
		s.ResponseBody([]byte("x"), true)
		if v, _ := s.ToClient().Headers.Get(":status"); v != "200" || s.ToUpstream().Headers == nil || s.Ending() != host.Completed {
			t.Errorf("got %+v, upstream %+v, %v", s.ToClient(), s.ToUpstream(), s.Ending())
		}
	}
}

// FAIL_RELOAD: the first stream after the back-off brings a new VM, whose memory
// is fresh and whose shared data is the old.
func TestFailReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{FailurePolicy: host.FailReload}, "configure: define 0 starts; increment $ 1; get k")
	worker := w.Worker(0)
	open(worker, "request-headers", "set k v 0")
	old := open(worker)
	worker.Crash()
	if s := open(worker); s.LocalReply() == nil {
		t.Error("a stream within the back-off was served")
	}
	w.SkipTime(1500 * time.Millisecond) // the base and the most jitter
	if w.Metrics().Counters["starts"] != 3 {
		t.Error("the VM was replaced without a stream")
	}
	if s := open(worker, "request-headers", "say hello"); s.LocalReply() != nil || s.ID() != 2 {
		t.Errorf("got %+v, context %d, want service from a VM that counts anew", s.LocalReply(), s.ID())
	}
	wantLog(t, w.Logs().OfWorker(0), "crashed by the test", `get k -> Ok "v" cas 1`, "say hello -> hello")
	old.ResponseHeaders(host.Response(200), false)
	if r := old.LocalReply(); r == nil || r.Status != 503 {
		t.Errorf("a stream of the dead VM: got %+v", r)
	}
	if len(w.Logs().Containing("2 response-headers")) > 0 {
		t.Error("a stream of the dead VM was shown to the new one")
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: get bad")
	worker := w.Worker(0)
	if err := worker.Reload(); err == nil {
		t.Error("a VM that had not failed was replaced")
	}
	worker.Crash()
	worker.Crash()
	w.Intercept(func(c *host.Call) {
		if c.Key == "bad" {
			c.Trap("at start")
		}
	})
	var start *host.StartError
	if err := worker.Reload(); !errors.As(err, &start) || start.Thread != "worker 0" || !worker.Failed() {
		t.Errorf("a reload that fails: got %v, failed %v", err, worker.Failed())
	}
	w.Intercept(nil)
	if err := worker.Reload(); err != nil || worker.Failed() {
		t.Errorf("got %v, failed %v", err, worker.Failed())
	}
	if s := open(worker); s.LocalReply() != nil {
		t.Errorf("after the reload: got %+v", s.LocalReply())
	}
}

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

func TestShutdown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "done: done; say last; return 0", "tick: done; done; say after", "configure: tick 10")
	if n := w.Shutdown(); n != 2 {
		t.Errorf("%d pending, want the main thread's and worker 0's", n)
	}
	wantLog(t, w.Logs().OfWorker(0), "1 done", "done -> NotFound", "say last -> last")
	w.Worker(0).Tick()
	wantLog(t, w.Logs().OfWorker(0), "1 tick", "done -> Ok", "done -> NotFound", "say after -> after", "1 delete")
	if n := w.Worker(0).Tick(); n != 0 || w.Worker(0).Contexts() != 0 {
		t.Errorf("%d ticks, %d contexts after the end", n, w.Worker(0).Contexts())
	}
}

func TestSharedDataOfTheWorld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2})
	w.SetSharedData("l", nil)
	w.SetSharedData("k", []byte("first"))
	w.SetSharedData("k", []byte{0xff})
	open(w.Worker(0), "request-headers", "get k; set k w $; set l _ 0")
	wantLog(t, w.Logs(), `get k -> Ok "\xff" cas 3`)
	got := w.SharedData()
	if len(got) != 2 || string(got["k"].Bytes) != "w" || got["k"].CAS != 4 || got["l"].CAS != 5 {
		t.Errorf("shared data: got %v", got)
	}
	got["k"].Bytes[0] = 'X'
	open(w.Worker(1), "request-headers", "get k")
	wantLog(t, w.Logs().OfWorker(1), `get k -> Ok "w" cas 4`)
}

func TestMemoryBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2})
	open(w.Worker(0), "request-headers", "alloc 16")
	if a, b := w.Worker(0).MemoryBytes(), w.Worker(1).MemoryBytes(); a < b+16<<20 || b < 64<<10 {
		t.Errorf("memory: got %d and %d bytes, want 16 MiB more in the first", a, b)
	}
}

func TestMisuseOfTheAPI(t *testing.T) {
	t.Parallel()
	w, closed := newWorld(t, host.Config{Workers: 1}), newWorld(t, host.Config{})
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, misuse := range map[string]func(){
		"a worker that is not":          func() { w.Worker(1) },
		"a stream on the main thread":   func() { w.Worker(host.MainThread).Open(nil) },
		"time that runs backwards":      func() { w.Advance(-1) },
		"time that is skipped the same": func() { w.SkipTime(-1) },
		"a stream of a closed world":    func() { closed.Worker(0).Open(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			misuse()
		}()
	}
	if _, err := host.NewWorld(module(t), host.Config{Workers: -1}); err == nil {
		t.Error("a world with -1 workers")
	}
}

// A thread is busy while its VM starts: wake-ups wait until it has, and a stream
// cannot be opened meanwhile.
func TestReloadKeepsTheThreadBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: register q; enqueue $ mine; set k v 0", "queue-ready: say woken")
	w.Run()
	w.Worker(0).Crash()
	var during int
	var refusal any
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" {
			during = w.Run()
			func() {
				defer func() { refusal = recover() }()
				w.Worker(0).Open(nil)
			}()
		}
	})
	if err := w.Worker(0).Reload(); err != nil {
		t.Fatal(err)
	}
	if refusal == nil {
		t.Error("a stream was opened on a worker that was starting")
	}
	if after := w.Run(); during != 0 || after != 1 {
		t.Errorf("%d wake-ups during the start and %d after, want 0 and 1", during, after)
	}
	wantLog(t, w.Logs().OfWorker(0), "crashed by the test", "1 configure", "1 queue-ready", "say woken -> woken")
}
