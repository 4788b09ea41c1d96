package host_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// The canary accepts the plugin, but it fails on worker 1. Envoy keeps the listener, its streams
// bypass the filter on worker 1, and Envoy accepts no further configuration.
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
		t.Errorf("got %d log lines about the failed start, want 1:\n%s", n, w.Logs())
	}
	s := openOn(fresh, 1, "request-headers", "reply 403 _ _")
	s.ResponseHeaders(host.Response(200), true)
	if s.ID() != 0 || s.LocalReply() != nil || s.Ending() != host.Completed {
		t.Errorf("a stream of the failed plugin: got context %d, local reply %+v, ending %v; want no context, no reply, completed", s.ID(), s.LocalReply(), s.Ending())
	}
	for _, s := range []*host.Stream{
		openOn(fresh, 0, "request-headers", "reply 403 _ _"), openOn(old, 1, "request-headers", "reply 403 _ _"),
	} {
		if r := s.LocalReply(); r == nil || r.Status != 403 {
			t.Errorf("a stream of another plugin or worker: got the local reply %+v, want 403", r)
		}
	}
	if w.Worker(1).Tick(); len(w.Logs().OfWorker(1).Containing("say alive")) != 1 {
		t.Errorf("want one tick of the plugin that failed, because its context still exists, got\n%s", w.Logs().OfWorker(1))
	}
	if _, err := w.AddListener([]byte("configure: say more")); err == nil || !strings.Contains(err.Error(), "Envoy accepts no configuration after one has failed") {
		t.Errorf("another listener: got the error %v, want: Envoy accepts no configuration", err)
	}
	fresh.Drain()
	if n := w.Worker(1).Contexts(); n != 2 {
		t.Errorf("got %d contexts on worker 1, want 2: one for each plugin", n)
	}
}

// All plugins of a thread share its VM. So if the new plugin traps in on_configure, streams of the
// old plugin fail too.
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
		t.Errorf("a stream of the old listener: got the local reply %+v, want 503 from a failed VM", r)
	}
	if s := openOn(fresh, 1); s.ID() != 0 || s.LocalReply() != nil {
		t.Errorf("a stream of the new listener: got context %d, local reply %+v; want neither", s.ID(), s.LocalReply())
	}
}

// After a crash each listener is reloaded by its own next stream. The first one creates the new VM,
// and the others join it. So a context id can pass from one plugin to another, with the queue that
// is registered under it.
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
		t.Errorf("a stream of the second listener: got local reply %+v, context %d; want none, and 2", s.LocalReply(), s.ID())
	}
	wantLines(t, since(w, before), "1 vm-start", "1 configure", "set second started 0 -> Ok", "2 request-headers")
	if worker.Failed() || worker.Contexts() != 2 {
		t.Errorf("got failed %v and %d contexts, want a new VM with 2: the second plugin and its stream", worker.Failed(), worker.Contexts())
	}
	before = w.Logs()
	openOn(second, 0, "request-headers", "enqueue 1 x")
	w.Run()
	wantLines(t, since(w, before), "3 request-headers", "enqueue 1 x -> Ok", "1 queue-ready", "say second -> second")

	before = w.Logs()
	if s := openOn(first, 0); s.LocalReply() != nil || s.ID() != 5 {
		t.Errorf("a stream of the first listener: got local reply %+v, context %d; want none, and 5", s.LocalReply(), s.ID())
	}
	wantLines(t, since(w, before), "4 vm-start", "4 configure", "5 request-headers")
	held.ResponseHeaders(host.Response(200), false)
	if r := held.LocalReply(); r == nil || r.Status != 503 {
		t.Errorf("a stream of the crashed VM: got the local reply %+v, want 503", r)
	}
	first.Drain()
	wantLines(t, since(w, before).Containing(" done"), "1 done") // only on the main thread: on the worker a stream is open
}

// A plugin that refuses its configuration in a reload keeps its context, because the VM belongs to
// another listener too. The next reload starts the plugin in that context.
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
		t.Error("got no local reply for a stream of a plugin that refused its configuration, want 503")
	}
	w.Intercept(nil)
	w.SkipTime(1500 * time.Millisecond)
	if s := openOn(first, 0); s.LocalReply() != nil || s.ID() != 4 {
		t.Errorf("after the next reload: got local reply %+v, context %d; want none, and 4", s.LocalReply(), s.ID())
	}
	wantLog(t, since(w, before), "3 configure", "define 0 m -> InternalFailure", "3 vm-start", "3 configure", "define 0 m -> Ok 4", "4 request-headers")
}

// Each listener has its own back-off.
func TestBackOffOfTwoListeners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{FailurePolicy: host.FailReload})
	first := w.Listeners()[0]
	w.SkipTime(time.Minute)
	second := addListener(t, w, "configure: say second")
	w.Worker(0).Crash()
	if s := openOn(second, 0); s.LocalReply() == nil {
		t.Error("got no local reply for a stream of the second listener, which has just started; want 503")
	}
	if s := openOn(first, 0); s.LocalReply() != nil {
		t.Errorf("a stream of the first listener: got the local reply %+v, want none", s.LocalReply())
	}
	if s := openOn(second, 0); s.LocalReply() == nil {
		t.Error("got no local reply for a stream of the second listener within its back-off, want 503 although the first has a new VM")
	}
}

// A new listener gets a new VM if the old one has failed. Streams of the old listener fail until
// that is reloaded too.
func TestAddListenerAfterACrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: say first")
	old, worker := w.Listeners()[0], w.Worker(0)
	worker.Crash()
	fresh := addListener(t, w, "configure: say fresh")
	wantLog(t, w.Logs().OfWorker(0), "crashed by the test", "1 configure", "say fresh -> fresh")
	if s := openOn(fresh, 0); s.LocalReply() != nil || worker.Failed() {
		t.Errorf("a stream of the new listener: got the local reply %+v, want none", s.LocalReply())
	}
	if s := openOn(old, 0); s.LocalReply() == nil {
		t.Error("got no local reply for a stream of the old listener before its reload, want 503")
	}
	before := w.Logs()
	if err := worker.Reload(); err != nil {
		t.Fatal(err)
	}
	wantLines(t, since(w, before), "3 vm-start", "3 configure", "say first -> first")
	if s := openOn(old, 0); s.LocalReply() != nil {
		t.Errorf("a stream of the old listener: got the local reply %+v, want none", s.LocalReply())
	}

	worker.Crash()
	before = w.Logs()
	if err := worker.Reload(); err != nil {
		t.Fatal(err)
	}
	wantLines(t, since(w, before), "1 vm-start", "1 configure", "say first -> first", "2 vm-start", "2 configure", "say fresh -> fresh")
}
