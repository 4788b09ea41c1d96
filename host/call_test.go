package host_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// increment reads n and writes it with the cas of the read, so the write must fail if another
// worker wrote n in between.
const increment = "get n; set n mine $"

// Worker 1 writes n while worker 0 is stopped in its own write, either before it takes effect or
// after.
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
					t.Errorf("set in the interceptor: got %v, want Ok", got)
				}
			}
			open(w.Worker(1), "request-headers", "get n; set n theirs $")
		})
		open(w.Worker(0), "request-headers", increment)
		if before {
			wantLog(t, w.Logs(), `get n -> Ok "0" cas 1`, "set n theirs $ -> Ok", "set n mine $ -> CasMismatch")
		} else {
			// Worker 1 wrote after worker 0, before worker 0 knew the result of its own write.
			wantLog(t, w.Logs(), `get n -> Ok "0" cas 1`, `get n -> Ok "mine" cas 2`, "set n theirs $ -> Ok", "set n mine $ -> Ok")
		}
		if got := string(w.SharedData()["n"].Bytes); got != "theirs" {
			t.Errorf("n at the end: got %q, want theirs", got)
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
		t.Errorf("got the calls\n%s\nwant\n%s", strings.Join(calls, "\n"), strings.Join(want, "\n"))
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fault  func(c *host.Call)
		answer string // what the guest is told about its set
		value  string // of the key after the call
		failed bool   // the VM
	}{
		{"no fault", func(*host.Call) {}, "Ok", "v", false},
		{"a conflict that never happened", func(c *host.Call) { c.Answer(host.StatusCasMismatch) }, "CasMismatch", "old", false},
		{"not carried out, reported as Ok", func(c *host.Call) { c.Answer(host.StatusOk) }, "Ok", "old", false},
		{"carried out, reported as failed", func(c *host.Call) { c.Proceed(); c.Answer(host.StatusInternalFailure) }, "InternalFailure", "v", false},
		{"answered before it is carried out", func(c *host.Call) { c.Answer(host.StatusInternalFailure); c.Proceed() }, "InternalFailure", "v", false},
		{"Proceed returns the true status, not the answer", func(c *host.Call) {
			c.Proceed()
			c.Answer(host.StatusEmpty)
			if got := c.Proceed(); got != host.StatusOk {
				c.Trap(got.String())
			}
		}, "Empty", "v", false},
		{"a second Proceed has no effect", func(c *host.Call) { c.Proceed(); c.Proceed() }, "Ok", "v", false},
		{"a trap before the effect", func(c *host.Call) { c.Trap("here") }, "", "old", true},
		{"a trap after the effect", func(c *host.Call) { c.Proceed(); c.Trap("here") }, "", "v", true},
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
				t.Errorf("failed VM: got %v, local reply %+v; want %v, and a reply only then", got, s.LocalReply(), tt.failed)
			}
			if tt.failed && len(w.Logs().Containing("trap injected at proxy_set_shared_data: here")) != 1 {
				t.Errorf("want the reason of the trap in the log, got\n%s", w.Logs())
			}
		})
	}
}

func TestLostEnqueueCausesNoWakeup(t *testing.T) {
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
		t.Errorf("got queues %v and pending wake-ups %v, want both empty", w.Queues(), w.PendingWakeups())
	}
}

// Interceptors nest: worker 0 is stopped in its write and runs worker 1, which is stopped in its
// write and runs worker 2.
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
		t.Errorf("k: got %v, want by-0 with cas 3", got)
	}
}

// Run and Advance in an interceptor skip the worker that waits in it. That worker gets its wake-ups
// and ticks later.
func TestBusyWorkersAreSkipped(t *testing.T) {
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
	if ran != 1 || ticked != 2 { // the ticks of worker 1 and of the main thread
		t.Errorf("in the interceptor: got %d wake-ups and %d ticks, want 1 and 2", ran, ticked)
	}
	if n := w.Run(); n != 1 {
		t.Errorf("afterwards: got %d wake-ups for worker 0, want 1", n)
	}
	if n := w.Advance(0); n != 1 {
		t.Errorf("afterwards: got %d late ticks, want 1 of worker 0", n)
	}
	wantLog(t, w.Logs().OfWorker(0), "set k v 0 -> Ok", "say back -> back", "1 queue-ready", "1 tick")
}

// The VM of a worker that waits in an interceptor cannot be entered again. The panic must reach the
// test, and must not count as a trap of the guest.
func TestReentryPanics(t *testing.T) {
	t.Parallel()
	for name, misuse := range map[string]func(w *host.World, s *host.Stream){
		"open":   func(w *host.World, _ *host.Stream) { open(w.Worker(0)) },
		"tick":   func(w *host.World, _ *host.Stream) { w.Worker(0).Tick() },
		"phase":  func(_ *host.World, s *host.Stream) { s.ResponseHeaders(host.Response(200), true) },
		"reload": func(w *host.World, _ *host.Stream) { w.Worker(0).Reload() },
		"end":    func(_ *host.World, s *host.Stream) { s.End() },
		"other":  func(*host.World, *host.Stream) { panic("of the test: only other workers") },
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
				if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "only other workers") {
					t.Errorf("got the panic %v, want one about other workers", r)
				}
				if w.Worker(0).Failed() {
					t.Error("got a failed VM, want the misuse not to count as a trap")
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
				t.Error("got a failed VM before the interceptor returned, want it after")
			}
		}
	})
	s := open(w.Worker(0), "request-headers", "set k v 0; say unreached")
	if !w.Worker(0).Failed() || s.LocalReply() == nil || string(w.SharedData()["k"].Bytes) != "v" {
		t.Errorf("got failed %v, local reply %v, shared data %v; want a failed VM, a reply, and k set", w.Worker(0).Failed(), s.LocalReply(), w.SharedData())
	}
	if len(w.Logs().Containing("unreached")) > 0 {
		t.Errorf("want no log line after the crash, got\n%s", w.Logs())
	}
}

func TestCallAfterItsInterceptorPanics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	var kept *host.Call
	w.Intercept(func(c *host.Call) { kept = c })
	open(w.Worker(0), "request-headers", "get k")
	defer func() {
		if recover() == nil {
			t.Error("Proceed after the interceptor returned: got no panic, want one")
		}
	}()
	kept.Proceed()
}
