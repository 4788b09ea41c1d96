package host_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// What the canary accepted may fail on a thread. Then Envoy has taken the listener:
// its streams pass there without the filter, and no other one is taken.
func TestPluginFailsOnOneWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2})
	old := w.Listeners()[0]
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_register_shared_queue" && c.Worker == 1 {
			c.Answer(host.StatusInternalFailure)
		}
	})
	fresh := addListener(t, w, "configure: register gate; tick 10; return $", "tick: say alive")
	w.Intercept(nil)
	if n := len(w.Logs().OfWorker(1).AtLeast(host.LogError).Containing("plugin failed to start: start filter on worker 1: proxy_on_configure returned false")); n != 1 {
		t.Errorf("%d lines about it in the log:\n%s", n, w.Logs())
	}
	s := openOn(fresh, 1, "request-headers", "reply 403 _ _")
	s.ResponseHeaders(host.Response(200), true)
	if s.ID() != 0 || s.LocalReply() != nil || s.Ending() != host.Completed {
		t.Errorf("a stream of it there: context %d, %+v, %v; want it unfiltered", s.ID(), s.LocalReply(), s.Ending())
	}
	for _, s := range []*host.Stream{
		openOn(fresh, 0, "request-headers", "reply 403 _ _"), openOn(old, 1, "request-headers", "reply 403 _ _"),
	} {
		if r := s.LocalReply(); r == nil || r.Status != 403 {
			t.Errorf("a stream elsewhere: got %+v", r)
		}
	}
	if w.Worker(1).Tick(); len(w.Logs().OfWorker(1).Containing("say alive")) != 1 {
		t.Error("the context that was refused does not live on")
	}
	if _, err := w.AddListener([]byte("configure: say more")); err == nil || !strings.Contains(err.Error(), "Envoy accepts no configuration any more") {
		t.Errorf("another listener: error %v", err)
	}
	fresh.Drain()
	if n := w.Worker(1).Contexts(); n != 2 {
		t.Errorf("%d contexts on worker 1, want those of both plugins", n)
	}
}

// A trap in the new plugin's on_configure takes the old one's streams with it.
func TestPluginTrapsOnOneWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2})
	s := open(w.Worker(1))
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_get_shared_data" && c.Worker == 1 {
			c.Trap("here")
		}
	})
	fresh := addListener(t, w, "configure: get k")
	s.ResponseHeaders(host.Response(200), true)
	if r := s.LocalReply(); r == nil || r.Status != 503 || !w.Worker(1).Failed() {
		t.Errorf("a stream of the old listener: got %+v", r)
	}
	if s := openOn(fresh, 1); s.ID() != 0 || s.LocalReply() != nil {
		t.Errorf("a stream of the new one: context %d, %+v, want it unfiltered", s.ID(), s.LocalReply())
	}
}

// After a crash each listener comes back with its own next stream: the first to
// come brings the new VM, and the others join it. So ids, and what hangs on them,
// may change hands.
func TestFailReloadOfTwoListeners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{FailurePolicy: host.FailReload}, "queue-ready: say first")
	first, worker := w.Listeners()[0], w.Worker(0)
	openOn(first, 0, "request-headers", "register q")
	second := addListener(t, w, "configure: set second started 0", "queue-ready: say second")
	held := openOn(first, 0)
	worker.Crash()
	w.SkipTime(1500 * time.Millisecond)

	before := w.Logs()
	if s := openOn(second, 0); s.LocalReply() != nil || s.ID() != 2 {
		t.Errorf("the second's stream: got %+v, context %d", s.LocalReply(), s.ID())
	}
	wantLines(t, since(w, before), "1 vm-start", "1 configure", "set second started 0 -> Ok", "2 request-headers")
	if worker.Failed() || worker.Contexts() != 2 {
		t.Errorf("failed %v, %d contexts, want a VM with the second plugin alone", worker.Failed(), worker.Contexts())
	}
	before = w.Logs()
	openOn(second, 0, "request-headers", "enqueue 1 x")
	w.Run()
	wantLines(t, since(w, before), "3 request-headers", "enqueue 1 x -> Ok", "1 queue-ready", "say second -> second")

	before = w.Logs()
	if s := openOn(first, 0); s.LocalReply() != nil || s.ID() != 5 {
		t.Errorf("the first's stream: got %+v, context %d", s.LocalReply(), s.ID())
	}
	wantLines(t, since(w, before), "4 vm-start", "4 configure", "5 request-headers")
	held.ResponseHeaders(host.Response(200), false)
	if r := held.LocalReply(); r == nil || r.Status != 503 {
		t.Errorf("a stream of the dead VM: got %+v", r)
	}
	first.Drain()
	wantLines(t, since(w, before).Containing(" done"), "1 done") // the main thread's: a stream holds the worker's
}

// A plugin that is refused when it is reloaded keeps its context, as the VM is
// another listener's too, and is started in it again.
func TestFailReloadThatIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{FailurePolicy: host.FailReload}, "configure: define 0 m; get k; return $")
	first := w.Listeners()[0]
	second := addListener(t, w, "configure: say second")
	w.Worker(0).Crash()
	w.SkipTime(1500 * time.Millisecond)
	openOn(second, 0).End()
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_define_metric" {
			c.Answer(host.StatusInternalFailure)
		}
	})
	before := w.Logs()
	if s := openOn(first, 0); s.LocalReply() == nil {
		t.Error("a stream was served by a plugin that refused its configuration")
	}
	w.Intercept(nil)
	w.SkipTime(1500 * time.Millisecond)
	if s := openOn(first, 0); s.LocalReply() != nil || s.ID() != 4 {
		t.Errorf("got %+v, context %d", s.LocalReply(), s.ID())
	}
	wantLog(t, since(w, before), "3 configure", "define 0 m -> InternalFailure", "3 vm-start", "3 configure", "define 0 m -> Ok 4", "4 request-headers")
}

// The back-off is each listener's own.
func TestBackOffOfTwoListeners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{FailurePolicy: host.FailReload})
	first := w.Listeners()[0]
	w.SkipTime(time.Minute)
	second := addListener(t, w, "configure: say second")
	w.Worker(0).Crash()
	if s := openOn(second, 0); s.LocalReply() == nil {
		t.Error("a stream of the second was served, which has just started")
	}
	if s := openOn(first, 0); s.LocalReply() != nil {
		t.Errorf("a stream of the first: got %+v", s.LocalReply())
	}
	if s := openOn(second, 0); s.LocalReply() == nil {
		t.Error("a stream of the second was served in the VM of the first, within its back-off")
	}
}

// A new listener gets a new VM where the old one has failed. The old one's streams
// go on failing until it is reloaded as well.
func TestAddListenerAfterACrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: say first")
	old, worker := w.Listeners()[0], w.Worker(0)
	worker.Crash()
	fresh := addListener(t, w, "configure: say fresh")
	wantLog(t, w.Logs().OfWorker(0), "crashed by the test", "1 configure", "say fresh -> fresh")
	if s := openOn(fresh, 0); s.LocalReply() != nil || worker.Failed() {
		t.Errorf("a stream of the new listener: got %+v", s.LocalReply())
	}
	if s := openOn(old, 0); s.LocalReply() == nil {
		t.Error("a stream of the old listener was served by a VM that it was not given")
	}
	before := w.Logs()
	if err := worker.Reload(); err != nil {
		t.Fatal(err)
	}
	wantLines(t, since(w, before), "3 vm-start", "3 configure", "say first -> first")
	if s := openOn(old, 0); s.LocalReply() != nil {
		t.Errorf("a stream of the old listener: got %+v", s.LocalReply())
	}

	worker.Crash()
	before = w.Logs()
	if err := worker.Reload(); err != nil {
		t.Fatal(err)
	}
	wantLines(t, since(w, before), "1 vm-start", "1 configure", "say first -> first", "2 vm-start", "2 configure", "say fresh -> fresh")
}
