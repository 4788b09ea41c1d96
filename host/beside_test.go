package host_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// Two filters with different vm_ids have a queue between them. Each has its own shared data.
func TestQueueBetweenVMIDs(t *testing.T) {
	t.Parallel()
	receiver := newWorld(t, host.Config{VMID: "receiver", Workers: 2}, "configure: register q", "queue-ready: dequeue $; property plugin_vm_id")
	sender := newWorld(t, host.Config{Beside: receiver, VMID: "sender"})
	open(sender.Worker(0), "request-headers", "resolve _ q; resolve receiver q; enqueue $ hello; set k v 0")
	wantLog(t, sender.Logs().OfWorker(0), "resolve _ q -> NotFound", "resolve receiver q -> Ok 1", "enqueue $ hello -> Ok")
	if n := len(receiver.SharedData()) + len(sender.Queues()); n != 0 || receiver.Queues()["q"] != 1 {
		t.Errorf("got the data %v of the receiver, and the queues %v and %v", receiver.SharedData(), sender.Queues(), receiver.Queues())
	}
	if n := sender.Run(); n != 1 {
		t.Errorf("got %d wake-ups, want 1", n)
	}
	// Worker 1 registered last.
	wantLog(t, receiver.Logs().OfWorker(1), "1 queue-ready", `dequeue $ -> Ok "hello"`, `property plugin_vm_id -> Ok "receiver"`)
	if lines := sender.Logs().Containing("queue-ready"); len(lines) > 0 {
		t.Errorf("got the lines\n%s\nin the log of the sender", lines)
	}
}

// Filters with one vm_id share data, even if their code or VM configuration differs. Each vm_id
// counts its cas on from the others.
func TestSharedDataOfVMIDs(t *testing.T) {
	t.Parallel()
	first := newWorld(t, host.Config{VMID: "a"})
	second := newWorld(t, host.Config{Beside: first, VMID: "a", VMConfig: []byte("say other")})
	third := newWorld(t, host.Config{Beside: first, VMID: "b"})
	open(first.Worker(0), "request-headers", "set k first 0")
	open(third.Worker(0), "request-headers", "set k third 0; get k")
	open(second.Worker(0), "request-headers", "get k")
	wantLog(t, second.Logs(), `get k -> Ok "first" cas 1`)
	wantLog(t, third.Logs(), `get k -> Ok "third" cas 2`)
}

// Worlds of one process have one clock. At one time, lower threads tick first, in all worlds.
func TestOneClockForAllWorlds(t *testing.T) {
	t.Parallel()
	var trace strings.Builder
	first := newWorld(t, host.Config{PluginName: "first", Trace: &trace, Clusters: map[string]http.Handler{"auth": nil}}, "configure: tick 100",
		"tick: httpcall auth 0 _ :path=/ :method=GET :authority=a")
	second := newWorld(t, host.Config{PluginName: "second", Trace: &trace, Beside: first, VMID: "other"}, "configure: tick 100")
	trace.Reset()
	if n := second.Advance(100 * time.Millisecond); n != 4 || !first.Now().Equal(second.Now()) {
		t.Errorf("got %d ticks, want one in each world on the main thread and on worker 0", n)
	}
	var ticks []string
	for _, line := range strings.Split(trace.String(), "\n") {
		if name, ok := strings.CutSuffix(line, ": proxy_on_tick(1)"); ok {
			ticks = append(ticks, name)
		}
	}
	if want := []string{"main thread first", "main thread second", "worker 0 first", "worker 0 second"}; !slices.Equal(ticks, want) {
		t.Errorf("got ticks on %q, want %q", ticks, want)
	}
	if len(first.HTTPCalls()) != 2 || len(second.HTTPCalls()) != 0 {
		t.Errorf("got %d callouts of the first world and %d of the second, want 2 and none", len(first.HTTPCalls()), len(second.HTTPCalls()))
	}
}

// The threads are the same in all worlds: one that is stopped in a hostcall cannot run another
// filter.
func TestThreadsOfAllWorldsAreTheSame(t *testing.T) {
	t.Parallel()
	first := newWorld(t, host.Config{Workers: 2})
	second := newWorld(t, host.Config{Beside: first, VMID: "other"})
	held := open(second.Worker(0), "request-headers", "return 1")
	first.Intercept(func(c *host.Call) {
		if c.Name != "proxy_set_shared_data" {
			return
		}
		open(second.Worker(1)) // another thread
		for _, use := range []func(){func() { second.Worker(0).Tick() }, func() { held.ResponseHeaders(host.Response(200), true) }} {
			func() {
				defer func() {
					if p, _ := recover().(string); !strings.Contains(p, "an interceptor may use only other workers") {
						t.Errorf("got the panic %q", p)
					}
				}()
				use()
			}()
		}
	})
	open(first.Worker(0), "request-headers", "set k v 0")
}

func TestBesideIsRefused(t *testing.T) {
	t.Parallel()
	first := newWorld(t, host.Config{})
	for _, tt := range []struct {
		config host.Config
		want   string
	}{
		{host.Config{Beside: first}, "want World.AddListener"},
		{host.Config{Beside: first, VMID: "b", Workers: 3}, "want them zero"},
	} {
		if _, err := host.NewWorld(module(t), tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got the error %v, want %q", err, tt.want)
		}
	}
}

// The test is at one end of a queue.
func TestTestUsesAQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: register in", "queue-ready: dequeue $; register out; enqueue $ done")
	w.Enqueue("in", []byte("work"))
	w.Run()
	wantLog(t, w.Logs(), `dequeue $ -> Ok "work"`)
	if item, ok := w.Dequeue("out"); !ok || string(item) != "done" {
		t.Errorf("got the item %q %v, want done", item, ok)
	}
	if item, ok := w.Dequeue("out"); ok {
		t.Errorf("got the item %q out of an empty queue", item)
	}
	defer func() {
		if p, _ := recover().(string); !strings.Contains(p, `no guest has registered a queue "nope"`) {
			t.Errorf("got the panic %q", p)
		}
	}()
	w.Enqueue("nope", nil)
}
