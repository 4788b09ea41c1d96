package host_test

import (
	"errors"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// After a trap the stream gets 503 and the guest is never called again in this VM. Other streams of
// the VM are cut at their next callback.
func TestTrap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "configure: tick 1000")
	held := open(w.Worker(0))
	responding := open(w.Worker(0))
	responding.ResponseHeaders(host.Response(200), false)
	elsewhere := open(w.Worker(1))

	s := open(w.Worker(0), "request-headers", "panic ouch")
	if r := s.LocalReply(); r == nil || r.Status != 503 || s.Details() != "wasm_fail_stream" || s.Ending() != host.Completed {
		t.Errorf("the stream that trapped: got reply %+v, details %q, %v; want 503, wasm_fail_stream, completed", r, s.Details(), s.Ending())
	}
	if !w.Worker(0).Failed() || len(w.Logs().Containing("proxy_on_request_headers failed")) != 1 {
		t.Errorf("got failed %v, want true and one line about it:\n%s", w.Worker(0).Failed(), w.Logs())
	}
	lines := len(w.Logs())

	if held.Ended() || responding.Ended() {
		t.Errorf("other streams before their next callback: got %v and %v, want open", held.Ending(), responding.Ending())
	}
	held.ResponseHeaders(host.Response(200), false)
	if r := held.LocalReply(); r == nil || r.Status != 503 {
		t.Errorf("a stream before its response: got the local reply %+v, want 503", r)
	}
	responding.ResponseBody([]byte("x"), false)
	if !responding.WasReset() || len(responding.ToClient().Body) > 0 {
		t.Errorf("a stream in its response: got %v, body %q; want reset, no body", responding.Ending(), responding.ToClient().Body)
	}
	if r := open(w.Worker(0)).LocalReply(); r == nil || r.Status != 503 {
		t.Errorf("a new stream: got the local reply %+v, want 503", r)
	}
	if n := w.Worker(0).Tick(); n != 0 {
		t.Errorf("got %d ticks in the failed VM, want 0", n)
	}
	if more := w.Logs()[lines:]; len(more) > 0 {
		t.Errorf("want no callback in the failed VM, got\n%s", more)
	}
	elsewhere.ResponseHeaders(host.Response(200), true)
	if elsewhere.Ending() != host.Completed {
		t.Errorf("a stream on another worker: got %v, want completed", elsewhere.Ending())
	}
}

func TestTrapInResponse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2})
	s := open(w.Worker(0), "response-headers", "panic")
	s.ResponseHeaders(host.Response(200), false)
	if v, _ := s.ToClient().Headers.Get(":status"); v != "503" || s.Ending() != host.Completed {
		t.Errorf("trap before the response: got %+v, %v; want 503, completed", s.ToClient(), s.Ending())
	}
	s = open(w.Worker(1), "response-body", "panic")
	s.ResponseHeaders(host.Response(200), false)
	s.ResponseBody([]byte("x"), false)
	if v, _ := s.ToClient().Headers.Get(":status"); v != "200" || !s.WasReset() {
		t.Errorf("trap in the response: got %+v, %v; want 200, reset", s.ToClient(), s.Ending())
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
			t.Errorf("got to client %+v, to upstream %+v, %v; want 200, the request, completed", s.ToClient(), s.ToUpstream(), s.Ending())
		}
	}
}

// With FailReload the first stream after the back-off starts a new VM. It has new memory, and the
// shared data stay.
func TestFailReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{FailurePolicy: host.FailReload}, "configure: define 0 starts; increment $ 1; get k")
	worker := w.Worker(0)
	open(worker, "request-headers", "set k v 0")
	old := open(worker)
	worker.Crash()
	if s := open(worker); s.LocalReply() == nil {
		t.Error("got no local reply for a stream within the back-off, want 503")
	}
	w.SkipTime(1500 * time.Millisecond) // the base and the largest jitter
	if w.Metrics().Counters["starts"] != 3 {
		t.Errorf("got %d starts before the next stream, want 3", w.Metrics().Counters["starts"])
	}
	if s := open(worker, "request-headers", "say hello"); s.LocalReply() != nil || s.ID() != 2 {
		t.Errorf("got local reply %+v, context %d; want none, and 2 in a new VM", s.LocalReply(), s.ID())
	}
	wantLog(t, w.Logs().OfWorker(0), "crashed by the test", `get k -> Ok "v" cas 1`, "say hello -> hello")
	old.ResponseHeaders(host.Response(200), false)
	if r := old.LocalReply(); r == nil || r.Status != 503 {
		t.Errorf("a stream of the crashed VM: got the local reply %+v, want 503", r)
	}
	if len(w.Logs().Containing("2 response-headers")) > 0 {
		t.Errorf("want no callback in the new VM for a stream of the crashed one, got\n%s", w.Logs())
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: get bad")
	worker := w.Worker(0)
	if err := worker.Reload(); err == nil {
		t.Error("Reload of a VM that has not failed: got no error, want one")
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
		t.Errorf("a reload whose plugin traps: got the error %v, failed %v; want a *StartError of worker 0, true", err, worker.Failed())
	}
	w.Intercept(nil)
	if err := worker.Reload(); err != nil || worker.Failed() {
		t.Errorf("the next reload: got the error %v, failed %v; want none, false", err, worker.Failed())
	}
	if s := open(worker); s.LocalReply() != nil {
		t.Errorf("a stream after the reload: got the local reply %+v, want none", s.LocalReply())
	}
}

// While a VM starts, its thread is busy: wake-ups wait, and no stream can be opened.
func TestReloadKeepsTheThreadBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: register q; enqueue $ mine; set k v 0", "queue-ready: say woken")
	w.Run()
	w.Worker(0).Crash()
	var during int
	var panicked any
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" {
			during = w.Run()
			func() {
				defer func() { panicked = recover() }()
				w.Worker(0).Open(nil)
			}()
		}
	})
	if err := w.Worker(0).Reload(); err != nil {
		t.Fatal(err)
	}
	if panicked == nil {
		t.Error("Open on a worker that is starting: got no panic, want one")
	}
	if after := w.Run(); during != 0 || after != 1 {
		t.Errorf("got %d wake-ups during the start and %d after it, want 0 and 1", during, after)
	}
	wantLog(t, w.Logs().OfWorker(0), "crashed by the test", "1 configure", "1 queue-ready", "say woken -> woken")
}

// A VM that has failed gets no ticks. Its successor starts without a timer.
func TestNoTicksAfterFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: get timer; tick 1000", "tick: say tick")
	open(w.Worker(0), "request-headers", "panic ouch")
	if n := w.Advance(5 * time.Second); n != 5 { // those of the main thread
		t.Errorf("got %d ticks in 5 s, want 5, all on the main thread", n)
	}
	if got := w.Logs().OfWorker(0).Containing("say tick"); len(got) > 0 {
		t.Errorf("got ticks of the failed VM:\n%s", got)
	}
	if err := w.Worker(0).Reload(); err != nil {
		t.Fatal(err)
	}
	if n := w.Advance(time.Second); n != 2 {
		t.Errorf("got %d ticks in 1 s after the reload, want 2", n)
	}
}

// A tick in which the VM fails is the last one.
func TestFailureInTick(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000", "tick: panic ouch")
	if n := w.Advance(5 * time.Second); n != 2 {
		t.Errorf("got %d ticks, want one on each thread", n)
	}
	if !w.Worker(0).Failed() || !w.Worker(host.MainThread).Failed() {
		t.Error("want both VMs failed")
	}
}
