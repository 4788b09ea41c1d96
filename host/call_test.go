package host_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// increment is a guest's lost update waiting to happen: read, then write with the
// cas that was read.
const increment = "get n; set n mine $"

// The test stops worker 0 between its read and its write and lets worker 1 write.
func TestInterleaving(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{true, false} {
		w := newWorld(t, host.Config{Workers: 2})
		w.SetSharedData("n", []byte("0"))
		w.Intercept(func(c *host.Call) {
			if c.Worker != 0 || c.Name != "proxy_set_shared_data" || c.Key != "n" {
				return
			}
			if !before {
				if got := c.Proceed(); got != host.StatusOk {
					t.Errorf("set: got %v", got)
				}
			}
			open(w.Worker(1), "request-headers", "get n; set n theirs $")
		})
		open(w.Worker(0), "request-headers", increment)
		if before {
			wantLog(t, w.Logs(), `get n -> Ok "0" cas 1`, "set n theirs $ -> Ok", "set n mine $ -> CasMismatch")
		} else {
			// Worker 1 came after the write and before worker 0 knew its result.
			wantLog(t, w.Logs(), `get n -> Ok "0" cas 1`, `get n -> Ok "mine" cas 2`, "set n theirs $ -> Ok", "set n mine $ -> Ok")
		}
		if got := string(w.SharedData()["n"].Bytes); got != "theirs" {
			t.Errorf("n is %q in the end", got)
		}
	}
}

func TestInterceptorSeesEveryCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 1}, "tick: effective 2; setproperty a b")
	var calls []string
	w.Intercept(func(c *host.Call) {
		if c.Name != "proxy_log" && !strings.HasPrefix(c.Key, "on-") {
			calls = append(calls, fmt.Sprintf("%d/%d %s %q %d", c.Worker, c.ContextID, strings.TrimPrefix(c.Name, "proxy_"), c.Key, c.Queue))
		}
	})
	open(w.Worker(0), "request-headers",
		"get k; set k v 0; register q; resolve _ q; enqueue 1 i; dequeue 1; header 0 x; add 0 y z; define 0 m; increment 4 1; property p; tick 10")
	w.Advance(10 * time.Millisecond)
	want := []string{
		`0/2 get_shared_data "k" 0`, `0/2 set_shared_data "k" 0`, `0/2 register_shared_queue "q" 0`,
		`0/2 resolve_shared_queue "q" 0`, `0/2 enqueue_shared_queue "" 1`, `0/2 dequeue_shared_queue "" 1`,
		`0/2 get_header_map_value "x" 0`, `0/2 add_header_map_value "y" 0`, `0/2 define_metric "m" 0`,
		`0/2 increment_metric "m" 0`, `0/2 get_property "p" 0`, `0/2 set_tick_period_milliseconds "" 0`,
		`0/1 set_effective_context "" 0`, `0/2 set_property "a" 0`,
	}
	if !slices.Equal(calls, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(calls, "\n"), strings.Join(want, "\n"))
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fault  func(c *host.Call)
		answer string // of the set
		value  string // of the key afterwards
		failed bool
	}{
		{"none", func(*host.Call) {}, "Ok", "v", false},
		{"a conflict that never was", func(c *host.Call) { c.Answer(host.StatusCasMismatch) }, "CasMismatch", "old", false},
		{"lost, with a good answer", func(c *host.Call) { c.Answer(host.StatusOk) }, "Ok", "old", false},
		{"done, with a bad answer", func(c *host.Call) { c.Proceed(); c.Answer(host.StatusInternalFailure) }, "InternalFailure", "v", false},
		{"the answer settled first", func(c *host.Call) { c.Answer(host.StatusInternalFailure); c.Proceed() }, "InternalFailure", "v", false},
		{"an answer is not what the call did", func(c *host.Call) {
			c.Proceed()
			c.Answer(host.StatusEmpty)
			if got := c.Proceed(); got != host.StatusOk {
				c.Trap(got.String())
			}
		}, "Empty", "v", false},
		{"proceeding twice is once", func(c *host.Call) { c.Proceed(); c.Proceed() }, "Ok", "v", false},
		{"a trap before", func(c *host.Call) { c.Trap("here") }, "", "old", true},
		{"a trap after", func(c *host.Call) { c.Proceed(); c.Trap("here") }, "", "v", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{})
			w.SetSharedData("k", []byte("old"))
			w.Intercept(func(c *host.Call) {
				if c.Name == "proxy_set_shared_data" {
					tt.fault(c)
				}
			})
			s := open(w.Worker(0), "request-headers", "set k v 0")
			if tt.answer != "" {
				wantLog(t, w.Logs(), "set k v 0 -> "+tt.answer)
			}
			if got := string(w.SharedData()["k"].Bytes); got != tt.value {
				t.Errorf("value: got %q, want %q", got, tt.value)
			}
			if got := w.Worker(0).Failed(); got != tt.failed || got != (s.LocalReply() != nil) {
				t.Errorf("failed: got %v, reply %+v", got, s.LocalReply())
			}
			if tt.failed && len(w.Logs().Containing("trap injected at proxy_set_shared_data: here")) != 1 {
				t.Errorf("the log lacks the reason:\n%s", w.Logs())
			}
		})
	}
}

func TestDroppedEnqueueIsNoWakeup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: register q")
	w.Intercept(func(c *host.Call) {
		if c.Queue == 1 {
			c.Answer(host.StatusOk)
		}
	})
	open(w.Worker(0), "request-headers", "enqueue 1 i")
	wantLog(t, w.Logs(), "enqueue 1 i -> Ok")
	if w.Queues()["q"] != 0 || len(w.PendingWakeups()) != 0 {
		t.Errorf("queues %v, pending %v", w.Queues(), w.PendingWakeups())
	}
}

// Three workers deep: each is stopped in its write and runs the next.
func TestInterleavingNests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 3})
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" && c.Worker < 2 {
			open(w.Worker(c.Worker+1), "request-headers", fmt.Sprintf("set k by-%d 0", c.Worker+1))
		}
	})
	open(w.Worker(0), "request-headers", "set k by-0 0")
	wantLog(t, w.Logs(), "set k by-2 0 -> Ok", "set k by-1 0 -> Ok", "set k by-0 0 -> Ok")
	if got := w.SharedData()["k"]; string(got.Bytes) != "by-0" || got.CAS != 3 {
		t.Errorf("got %v", got)
	}
}

// Run and Advance in an interceptor pass over the worker that waits in it: its
// thread is busy, and gets its wake-ups and ticks afterwards.
func TestBusyWorkersArePassedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "configure: tick 10", "queue-ready: say woken", "tick: say ticked")
	open(w.Worker(0), "request-headers", "register q0")
	open(w.Worker(1), "request-headers", "register q1")
	ran, ticked := 0, 0
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" {
			ran, ticked = w.Run(), w.Advance(10*time.Millisecond)
		}
	})
	open(w.Worker(0), "request-headers", "enqueue 1 i; enqueue 2 i; set k v 0; say back")
	if ran != 1 || ticked != 2 { // worker 1 and the main thread tick
		t.Errorf("in the interceptor: %d wake-ups, %d ticks, want 1 and 2", ran, ticked)
	}
	if n := w.Run(); n != 1 {
		t.Errorf("%d wake-ups were left for worker 0, want 1", n)
	}
	if n := w.Advance(0); n != 1 {
		t.Errorf("%d ticks were late, want worker 0's", n)
	}
	wantLog(t, w.Logs().OfWorker(0), "set k v 0 -> Ok", "say back -> back", "1 queue-ready", "1 tick")
}

// The VM of a worker that waits in an interceptor cannot be entered: the test is
// told so by a panic that reaches it, and is not taken for a trap of the guest.
func TestReentryPanics(t *testing.T) {
	t.Parallel()
	for name, misuse := range map[string]func(w *host.World, s *host.Stream){
		"open":   func(w *host.World, _ *host.Stream) { open(w.Worker(0)) },
		"tick":   func(w *host.World, _ *host.Stream) { w.Worker(0).Tick() },
		"phase":  func(_ *host.World, s *host.Stream) { s.ResponseHeaders(host.Response(200), true) },
		"reload": func(w *host.World, _ *host.Stream) { w.Worker(0).Reload() },
		"end":    func(_ *host.World, s *host.Stream) { s.End() },
		"other":  func(*host.World, *host.Stream) { panic("interceptor uses other workers only, they say") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{Workers: 2}, "configure: tick 10")
			s := open(w.Worker(0))
			w.Intercept(func(c *host.Call) {
				if c.Name == "proxy_set_shared_data" && c.Worker == 0 {
					misuse(w, s)
				}
			})
			defer func() {
				if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "other workers only") {
					t.Errorf("panic: got %v", r)
				}
				if w.Worker(0).Failed() {
					t.Error("the misuse was blamed on the guest")
				}
			}()
			open(w.Worker(0), "request-headers", "set k v 0")
		})
	}
}

func TestCrashInsideAHostcall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2})
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" {
			c.Proceed()
			w.Worker(c.Worker).Crash()
			if w.Worker(c.Worker).Failed() {
				t.Error("failed before its hostcall returned")
			}
		}
	})
	s := open(w.Worker(0), "request-headers", "set k v 0; say unreached")
	if !w.Worker(0).Failed() || s.LocalReply() == nil || string(w.SharedData()["k"].Bytes) != "v" {
		t.Errorf("failed %v, reply %v, data %v", w.Worker(0).Failed(), s.LocalReply(), w.SharedData())
	}
	if len(w.Logs().Containing("unreached")) > 0 {
		t.Error("the guest went on")
	}
}

func TestCallOutlivedByItsInterceptor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	var kept *host.Call
	w.Intercept(func(c *host.Call) { kept = c })
	open(w.Worker(0), "request-headers", "get k")
	defer func() {
		if recover() == nil {
			t.Error("a call was carried out after its end")
		}
	}()
	kept.Proceed()
}
