package main_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// busy opens n streams on a worker that get bytes every second, and returns a function that lets a
// second pass.
func busy(e *edge, worker, n int) (second func()) {
	var streams []*host.Stream
	for i := range n {
		streams = append(streams, e.open(worker, "busy-"+strconv.Itoa(i)))
	}
	return func() {
		for _, s := range streams {
			if !s.Ended() {
				s.ResponseBody([]byte(":\n\n"), false)
			}
		}
		e.Advance(time.Second)
		e.Run()
	}
}

// A worker with many busy streams looks at their idle timeouts again and again. That must not delay
// what is due on others.
func TestDeadlinesBehindBusyStreams(t *testing.T) {
	t.Parallel()
	const many = 2000
	rule := func(more string) []byte {
		return []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "idle_timeout": "2s", ` + more + `}]}`)
	}
	seconds := func(second func(), done func() bool) (took int) {
		for ; !done() && took < 30; took++ {
			second()
		}
		return took
	}
	t.Run("idle timeout", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t, host.Config{PluginConfig: rule(`"mode": "enforce"`)})
		second := busy(e, 0, many)
		second()
		silent := e.open(0, "silent")
		if took := seconds(second, silent.Ended); took > 3 {
			t.Errorf("a silent stream ended after %d s, want at most 3", took)
		}
	})
	t.Run("wait", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t, host.Config{PluginConfig: rule(`"claim_at": "request"`)})
		second := busy(e, 1, many)
		second()
		old, _ := e.ask(0, "alice")
		old.ResponseHeaders(eventStream, false)
		e.Worker(0).Crash() // nobody says that the old stream has ended
		fresh, ok := e.ask(1, "alice")
		if ok {
			t.Fatal("the request does not wait")
		}
		if took := seconds(second, func() bool { return through(fresh) }); took > 2 {
			t.Errorf("the request waited %d s, want at most 2", took)
		}
	})
	t.Run("grace", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t, host.Config{PluginConfig: rule(`"goodbye_grace": "1s"`)})
		second := busy(e, 1, many)
		second()
		old := e.open(1, "alice")
		e.open(0, "alice")
		e.Run()
		if took := seconds(second, old.Ended); took > 2 {
			t.Errorf("a superseded stream of a silent backend ended after %d s, want at most 2", took)
		}
	})
}

// Very many streams expire at once. One callback resets at most 256 of them, as Envoy carries out
// its resets nested; the others follow in the next callbacks, and not a second later.
func TestManyExpireAtOnce(t *testing.T) {
	t.Parallel()
	const many = 1500
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}],
		"max_lifetime": "5s", "lifetime_jitter_percent": 0}]}`)})
	var streams []*host.Stream
	for i := range many {
		streams = append(streams, e.open(0, strconv.Itoa(i)))
	}
	e.Advance(4 * time.Second)
	if n := living(streams); n != many {
		t.Fatalf("%d of %d streams live after 4 s", n, many)
	}
	e.Advance(2 * time.Second)
	if n := many - living(streams); n != 2*256 {
		t.Errorf("two ticks ended %d streams, want 256 each", n)
	}
	e.Run()
	if n := living(streams); n != 0 {
		t.Errorf("%d streams live after the wake-ups, want none", n)
	}
	e.counted(map[string]uint64{"events.expired": many, "events.active": 0})
}
