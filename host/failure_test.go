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
