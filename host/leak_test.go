package host_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

func TestLeaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Clusters: map[string]http.Handler{"auth": nil}}, "configure: register q", "done: return 0")
	if leaks := w.Leaks(); len(leaks) > 0 {
		t.Errorf("a new world: got the leaks %v", leaks)
	}
	s := open(w.Worker(0), "request-headers", "httpcall auth 0 _ :path=/ :method=GET :authority=a; set k v 0; set a _ 0; enqueue 1 item")
	want := []string{`worker 0: open stream "2"`, `worker 0: callout "auth"`, `item in queue "q", 4 bytes`, `shared data "a", 1 bytes`, `shared data "k", 2 bytes`}
	wantLeaks(t, w, want)
	s.End()
	w.HTTPCalls()[0].Respond(host.Response(200), nil, nil)
	wantLeaks(t, w, want[2:])
	w.Shutdown()
	wantLeaks(t, w, append([]string{`main thread: plugin that waits for proxy_done "1"`, `worker 0: plugin that waits for proxy_done "1"`}, want[2:]...))
}

func wantLeaks(t *testing.T, w *host.World, want []string) {
	t.Helper()
	var got []string
	for _, leak := range w.Leaks() {
		got = append(got, leak.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got the leaks\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTimers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 250", "tick: tick 0")
	start := w.Now()
	if got, want := w.Worker(0).Timers(), (host.Timer{ContextID: 1, Period: 250 * time.Millisecond, Due: start.Add(250 * time.Millisecond)}); len(got) != 1 || got[0] != want {
		t.Errorf("got the timers %+v, want %+v", got, want)
	}
	w.Tick()
	if got := w.Worker(0).Timers(); len(got) != 0 {
		t.Errorf("got the timers %+v after on_tick has stopped the only one", got)
	}
}

// Go writes the report of a panic in many pieces. It is one entry of the log.
func TestPanicIsOneLogEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	open(w.Worker(0), "request-headers", "write 2 before+panic|; panic ouch")
	errors := w.Logs().AtLeast(host.LogError)
	var report []host.LogEntry
	for _, entry := range errors {
		if strings.HasPrefix(entry.Message, "panic: ouch\n\ngoroutine 1") {
			report = append(report, entry)
		}
	}
	if len(report) != 1 || !strings.Contains(report[0].Message, "main.execute") || len(errors) != 3 || errors[0].Message != "before panic" {
		t.Errorf("got the errors\n%s\nwant what came before the panic, one entry for the panic, and one for the trap", errors)
	}
}

// The error of a start has the log of this start. What Envoy logs about it does not repeat it.
func TestStartErrorPrintsItsLogOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2}, "configure: say first")
	trap := 0
	w.Intercept(func(c *host.Call) {
		if trap++; c.Worker == 1 {
			c.Trap("here")
		}
	})
	_, err := w.AddListener([]byte("configure: say second"))
	if err != nil {
		t.Fatalf("the canary and a worker: got %v, want only a log line", err)
	}
	_, err = w.AddListener([]byte("configure: say third"))
	if err == nil || strings.Contains(err.Error(), "say first") || strings.Count(err.Error(), "trap injected") != 1 {
		t.Errorf("got the error\n%v\nwant the log of the start that failed, once", err)
	}
	if got := w.Logs().Containing("plugin failed to start"); len(got) != 1 || strings.Contains(fmt.Sprint(got), "vm-start") {
		t.Errorf("got the lines\n%s\nwant one line", got)
	}
}
