package host_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// addListener adds a listener whose plugin has these scripts.
func addListener(tb testing.TB, w *host.World, scripts ...string) *host.Listener {
	tb.Helper()
	l, err := w.AddListener([]byte(strings.Join(scripts, "\n")))
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// openOn begins a stream of a listener and shows the guest its request headers.
func openOn(l *host.Listener, worker int, scripts ...string) *host.Stream {
	s := l.Open(worker, request(scripts...))
	s.RequestHeaders(true)
	return s
}

// since returns the lines that were logged after before was taken.
func since(w *host.World, before host.Logs) host.Logs { return w.Logs()[len(before):] }

// wantLines checks that the log is exactly these lines.
func wantLines(tb testing.TB, logs host.Logs, lines ...string) {
	tb.Helper()
	var got []string
	for _, entry := range logs {
		got = append(got, entry.Message)
	}
	if !slices.Equal(got, lines) {
		tb.Errorf("got the log lines\n%s\nwant exactly\n%s", logs, strings.Join(lines, "\n"))
	}
}

// A second listener starts a second plugin in the VMs that run already, after a canary in a VM of
// its own.
func TestAddListener(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2, VMConfig: []byte("define 0 starts; increment $ 1; body 7 0 1")}, "configure: say first")
	before := w.Logs()
	addListener(t, w, "configure: say second; body 7 15 6; effective 1; body 7 0 1")

	var order []string
	for _, entry := range since(w, before).Containing("configure") {
		order = append(order, fmt.Sprintf("%d: %s", entry.Worker, entry.Message))
	}
	if want := []string{"-1: 1 configure", "-1: 2 configure", "0: 2 configure", "1: 2 configure"}; !slices.Equal(order, want) {
		t.Errorf("got on_configure in the order %q, want %q", order, want)
	}
	if got := w.Metrics().Counters["starts"]; got != 2*(2+2) {
		t.Errorf("got %d calls of on_vm_start, want 8: one for each plugin in each VM", got)
	}
	wantLines(t, since(w, before).OfWorker(1), "2 vm-start", "define 0 starts -> Ok 8", "increment $ 1 -> Ok",
		"body 7 0 1 -> NotFound", "2 configure", "say second -> second", `body 7 15 6 -> Ok "second"`, "effective 1 -> Ok", "body 7 0 1 -> NotFound")
	if n := w.Worker(0).Contexts(); n != 2 {
		t.Errorf("got %d contexts in the VM, want 2: one for each plugin", n)
	}
}

// A stream belongs to the plugin of the listener that it was opened on, and so do the timer and the
// queue that it sets up. All contexts of a VM get their ids from one counter.
func TestStreamsOfTwoListeners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "tick: say first", "queue-ready: say first")
	first := w.Listeners()[0]
	old := openOn(first, 0, "request-headers", "tick 1000; register q1", "response-headers", "say still+here")
	second := addListener(t, w, "tick: say second", "queue-ready: say second", "stream: say of+second")
	if got := w.Listeners(); !slices.Equal(got, []*host.Listener{first, second}) {
		t.Errorf("got the listeners %v, want %v", got, []*host.Listener{first, second})
	}
	byDefault := open(w.Worker(0), "request-headers", "tick 300; register q2")
	chosen := openOn(first, 0)
	if old.ID() != 2 || byDefault.ID() != 4 || chosen.ID() != 5 {
		t.Errorf("got streams with the ids %d, %d and %d, want 2, 4 and 5 (3 is the second plugin)", old.ID(), byDefault.ID(), chosen.ID())
	}

	before := w.Logs()
	w.Advance(time.Second)
	wantLines(t, since(w, before), "3 tick", "say second -> second", "3 tick", "say second -> second",
		"3 tick", "say second -> second", "1 tick", "say first -> first")

	before = w.Logs()
	openOn(second, 0, "request-headers", "enqueue 1 a; enqueue 2 b")
	if got := w.PendingWakeups(); len(got) != 2 || got[0].ContextID != 1 || got[1].ContextID != 3 {
		t.Errorf("got the pending wake-ups %v, want one for context 1 and one for context 3", got)
	}
	w.Run()
	wantLines(t, since(w, before), "say of+second -> of+second", "6 request-headers", "enqueue 1 a -> Ok", "enqueue 2 b -> Ok",
		"1 queue-ready", "say first -> first", "3 queue-ready", "say second -> second")
	old.ResponseHeaders(host.Response(200), false)
	wantLog(t, w.Logs(), "2 response-headers", "say still+here -> still+here")
}

// A drained listener takes no new streams. On each thread its context ends with its last stream
// there.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "configure: tick 100", "done: say old", "delete: say gone")
	old := w.Listeners()[0]
	a, b := openOn(old, 0, "request-headers", "register q"), openOn(old, 0)
	fresh := addListener(t, w, "done: say fresh")
	before := w.Logs()
	old.Drain()
	old.Drain()
	ended := []string{"1 done", "say old -> old", "1 delete", "say gone -> gone"}
	wantLines(t, since(w, before).OfWorker(host.MainThread), ended...)
	wantLines(t, since(w, before).OfWorker(0))
	wantLines(t, since(w, before).OfWorker(1), ended...)

	a.ResponseHeaders(host.Response(200), false)
	a.End()
	if n := w.Worker(0).Tick(); n != 1 {
		t.Errorf("got %d ticks while a stream is open, want 1", n)
	}
	before = w.Logs()
	b.End()
	wantLines(t, since(w, before), append([]string{"3 log", "3 done", "3 delete"}, ended...)...)
	if n := w.Advance(time.Hour); n != 0 {
		t.Errorf("got %d ticks of a plugin that has ended, want 0", n)
	}

	before = w.Logs()
	openOn(fresh, 1, "request-headers", "enqueue 1 lost")
	w.Run()
	wantLines(t, since(w, before).Containing("queue-ready"))
	if got := w.Listeners(); !slices.Equal(got, []*host.Listener{fresh}) {
		t.Errorf("got the listeners %v, want only %v", got, fresh)
	}
	fresh.Drain()
	if _, err := w.AddListener(nil); err == nil || !strings.Contains(err.Error(), "want a new World") {
		t.Errorf("AddListener after the last one has drained: got the error %v, want one about a new World", err)
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "done: done; say last; return 0", "tick: done; done; say after", "configure: tick 10")
	if n := w.Shutdown(); n != 2 {
		t.Errorf("got %d pending plugins, want 2: on the main thread and on worker 0", n)
	}
	wantLog(t, w.Logs().OfWorker(0), "1 done", "done -> NotFound", "say last -> last")
	w.Worker(0).Tick()
	wantLog(t, w.Logs().OfWorker(0), "1 tick", "done -> Ok", "done -> NotFound", "say after -> after", "1 delete")
	if n := w.Worker(0).Tick(); n != 0 || w.Worker(0).Contexts() != 0 {
		t.Errorf("after the end: got %d ticks and %d contexts, want 0 and 0", n, w.Worker(0).Contexts())
	}
}

// proxy_done ends the plugin of its caller. If two plugins with the same configuration are pending,
// the first one is dropped without on_delete.
func TestPendingPlugins(t *testing.T) {
	t.Parallel()
	const slow = "configure: tick 10\ndone: return 0\ntick: done"
	w := newWorld(t, host.Config{}, "done: return 0")
	worker := w.Worker(0)
	base := w.Listeners()[0]
	for range 2 {
		addListener(t, w, slow).Drain()
	}
	if n := worker.Contexts(); n != 2 {
		t.Errorf("got %d contexts, want 2: the first listener's and the pending one", n)
	}
	s := openOn(base, 0, "request-headers", "done")
	wantLog(t, w.Logs(), "4 request-headers", "done -> NotFound")
	s.End()
	base.Drain()
	before := w.Logs()
	worker.Tick()
	wantLines(t, since(w, before), "3 tick", "done -> Ok", "3 delete")
	if n := worker.Contexts(); n != 1 {
		t.Errorf("got %d contexts, want 1: the first listener's, which is pending", n)
	}
	if len(w.Logs().OfWorker(0).Containing("2 delete")) > 0 {
		t.Errorf("want no on_delete for the plugin that was pending first, got\n%s", w.Logs().OfWorker(0))
	}
}

// A configuration that the canary refuses changes nothing, and no second canary tries it.
func TestRefusedListener(t *testing.T) {
	tests := []struct {
		name, config string
		reason       string
	}{
		{"on_configure returns false", "configure: say bad; set mark canary 0; return 0", "proxy_on_configure returned false"},
		{"on_configure traps", "configure: say bad; set mark canary 0; panic ouch", "proxy_on_configure trapped"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{Workers: 2}, "configure: tick 100")
			old := openOn(w.Listeners()[0], 1)
			before := w.Logs()
			for range 2 {
				_, err := w.AddListener([]byte(tt.config))
				var start *host.StartError
				if !errors.As(err, &start) || start.Thread != "main thread (canary)" || start.Reason != tt.reason {
					t.Fatalf("got the error %v, want %q in the canary", err, tt.reason)
				}
			}
			if n := len(since(w, before).Containing("say bad")); n != 1 {
				t.Errorf("got %d calls of on_configure, want 1", n)
			}
			if got := since(w, before); len(got) != len(got.OfWorker(host.MainThread)) || len(got.Containing(" delete")) > 0 {
				t.Errorf("want log lines of the main thread only, and no on_delete, got\n%s", got)
			}
			if len(w.Listeners()) != 1 || string(w.SharedData()["mark"].Bytes) != "canary" {
				t.Errorf("got the listeners %v and the shared data %v, want 1 listener, and what the canary wrote", w.Listeners(), w.SharedData())
			}
			old.ResponseHeaders(host.Response(200), true)
			if s := open(w.Worker(0)); old.Ending() != host.Completed || s.Ended() || w.Tick() != 3 {
				t.Errorf("on the old listener: got an old stream %v and a new one %v, want completed and open, and 3 ticks", old.Ending(), s.Ending())
			}
			addListener(t, w, "configure: say good")
		})
	}
}

// If on_vm_start refuses the plugin, the next canary tries the configuration again.
func TestRefusedAtVMStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{VMConfig: []byte("register gate; return $")})
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_register_shared_queue" {
			c.Answer(host.StatusInternalFailure)
		}
	})
	_, err := w.AddListener([]byte("another"))
	var start *host.StartError
	if !errors.As(err, &start) || start.Reason != "proxy_on_vm_start returned false" {
		t.Errorf("got the error %v, want proxy_on_vm_start returned false", err)
	}
	w.Intercept(nil)
	addListener(t, w, "another")
}

// Two listeners with the same configuration share one plugin. So does a listener that comes after
// both have drained, while a stream keeps the plugin alive.
func TestEqualConfigurations(t *testing.T) {
	t.Parallel()
	const config = "done: say over"
	w := newWorld(t, host.Config{}, config)
	first := w.Listeners()[0]
	before := w.Logs()
	second := addListener(t, w, config)
	wantLines(t, since(w, before))
	if n := w.Worker(0).Contexts(); n != 1 {
		t.Errorf("got %d contexts, want 1", n)
	}
	first.Drain()
	wantLines(t, since(w, before))

	s := openOn(second, 0)
	addListener(t, w, "done: say another")
	before = w.Logs()
	second.Drain()
	wantLines(t, since(w, before), "1 done", "say over -> over", "1 delete") // on the main thread
	before = w.Logs()
	third := addListener(t, w, config)
	wantLines(t, since(w, before).OfWorker(0))
	wantLines(t, since(w, before).OfWorker(host.MainThread), "3 vm-start", "3 configure")
	before = w.Logs()
	s.End()
	wantLines(t, since(w, before), "2 log", "2 done", "2 delete")
	third.Drain()
	wantLines(t, since(w, before).OfWorker(0), "2 log", "2 done", "2 delete", "1 done", "say over -> over", "1 delete")
}

// Plugins with another name or root id have contexts of their own in the same VM, even if their
// configurations are equal.
func TestPluginsOfOneVM(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{PluginName: "a", RootID: "r"})
	add := func(name, root string) *host.Listener {
		l, err := w.AddPlugin(host.Plugin{Name: name, RootID: root})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	add("b", "r")
	last := add("a", "s")
	if n := w.Worker(0).Contexts(); n != 3 {
		t.Errorf("got %d contexts, want one for each plugin", n)
	}
	add("a", "s")
	if n := w.Worker(0).Contexts(); n != 3 {
		t.Errorf("got %d contexts after an equal plugin, want 3", n)
	}
	last.Open(0, host.Request("GET", "/", "on-request-headers", "property plugin_name; property plugin_root_id")).RequestHeaders(true)
	wantLog(t, w.Logs().OfWorker(0), `property plugin_name -> Ok "a"`, `property plugin_root_id -> Ok "s"`)
}
