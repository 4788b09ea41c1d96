package main_test

import (
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// Two workers claim for one client at the same time, and both have read the bucket before either
// writes. The second write must fail. Its worker reads again and supersedes the first stream.
func TestClaimsBetweenGetAndSet(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	e.open(0, "warm").End() // both workers have joined
	e.open(1, "warm").End()

	slow := e.request(0, "alice")
	fast := e.request(1, "alice")
	mismatches := 0
	raced := false
	e.Intercept(func(c *host.Call) {
		if c.Name != "proxy_set_shared_data" {
			return
		}
		if c.Worker == 0 && !raced {
			raced = true
			fast.ResponseHeaders(eventStream, false) // reads and writes before worker 0 does
		}
		if c.Proceed() == host.StatusCasMismatch {
			mismatches++
			if c.Worker != 0 {
				t.Errorf("worker %d got the cas mismatch, want worker 0", c.Worker)
			}
		}
	})
	slow.ResponseHeaders(eventStream, false)
	e.Intercept(nil)
	if !raced || mismatches != 1 {
		t.Fatalf("raced %v, with %d cas mismatches, want 1", raced, mismatches)
	}
	e.Run()
	e.superseded(fast) // slow wrote last: it is the newest
	e.live(slow, true)
	e.counted(map[string]uint64{"events.active": 1, "events.superseded": 1, "events.opened": 4})
}

// The same if the bucket was never written. The worker that creates it must not overwrite a bucket
// that another worker has just created.
func TestClaimsOfAnAbsentBucket(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	first := e.request(0, "alice")
	second := e.request(1, "alice")
	raced := false
	e.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" && c.Worker == 0 && !raced {
			raced = true
			second.ResponseHeaders(eventStream, false)
		}
	})
	first.ResponseHeaders(eventStream, false)
	e.Intercept(nil)
	if !raced {
		t.Fatal("the other worker did not write between the get and the set")
	}
	e.Run()
	e.superseded(second)
	e.live(first, true)
	e.counted(map[string]uint64{"events.active": 1})
}

// A release that races with a takeover must leave the newcomer in the registry.
func TestReleaseBetweenGetAndSet(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	old := e.open(0, "alice")
	fresh := e.request(1, "alice")
	raced := false
	e.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" && c.Worker == 0 && !raced {
			raced = true
			fresh.ResponseHeaders(eventStream, false)
		}
	})
	old.End()
	e.Intercept(nil)
	if !raced {
		t.Fatal("the other worker did not write between the get and the set")
	}
	e.Run()
	e.live(fresh, true)
	e.counted(map[string]uint64{"events.active": 1, "events.superseded": 1, "events.released": 0})
}

// A claim whose write loses every race lets the stream live. The tick writes it.
func TestContention(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	old := e.open(0, "alice")
	fresh := e.request(1, "alice")
	e.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" && c.Worker == 1 {
			c.Answer(host.StatusCasMismatch)
		}
	})
	fresh.ResponseHeaders(eventStream, false)
	e.Intercept(nil)
	e.Run()
	e.live(old, true)
	e.live(fresh, true)
	e.counted(map[string]uint64{"contended": 1, "events.active": 1})

	e.Tick()
	e.Run()
	e.superseded(old)
	e.live(fresh, true)
	e.counted(map[string]uint64{"contended": 1, "events.active": 1, "events.superseded": 1})
}

// If a wake-up is lost, the message is still in the queue, and the tick finds it.
func TestLostWakeup(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	old := e.open(0, "alice")
	fresh := e.open(1, "alice")
	if n := e.DropWakeups(); n != 1 {
		t.Fatalf("%d wake-ups were waiting, want 1", n)
	}
	e.live(old, true)
	e.Tick()
	e.superseded(old)
	e.live(fresh, true)
	e.counted(map[string]uint64{"lost_wakeups": 1, "events.active": 1})
}

// If the message is lost as well, the self-check finds that the stream is not in the registry.
func TestLostMessage(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	old := e.open(0, "alice")
	e.Intercept(func(c *host.Call) {
		if c.Name == "proxy_enqueue_shared_queue" {
			c.Answer(host.StatusOk)
		}
	})
	fresh := e.open(1, "alice")
	e.Intercept(nil)
	e.Run()
	e.Tick()
	e.live(old, true) // the message might still come
	e.Tick()
	e.live(old, false)
	if got := old.FilterState()["wasm.streamlatch.reason"]; got != "unregistered" {
		t.Errorf("reason %q, want unregistered", got)
	}
	e.live(fresh, true)
	e.counted(map[string]uint64{"lost_wakeups": 1, "events.active": 1})
}

// If shared data fails altogether, streams are not tracked, and every request passes.
func TestSharedDataFails(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	e.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" || c.Name == "proxy_get_shared_data" {
			c.Answer(host.StatusInternalFailure)
		}
	})
	for range 3 {
		s := e.open(0, "alice")
		e.live(s, true)
		s.End()
	}
	e.counted(map[string]uint64{"events.opened": 0, "events.active": 0})
	if lines := e.Logs().AtLeast(host.LogWarn); len(lines) != 1 {
		t.Errorf("%d warnings, want one a second, so 1:\n%v", len(lines), lines)
	}
	e.Intercept(nil)
	e.open(0, "alice")
	e.counted(map[string]uint64{"events.opened": 1, "events.active": 1})
}
