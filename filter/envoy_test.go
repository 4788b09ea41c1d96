package main_test

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/host"
	"github.com/streamlatch/streamlatch/host/gobuild"
)

// The tests of this package run the module as it is shipped, under wazero, with Envoy's rules. The
// test host runs one callback at a time and sets the clock, so these tests are exact about races
// and time. The end-to-end tests check the same in a real Envoy, but cannot be as exact.

var compiled = sync.OnceValues(func() (*host.Module, error) {
	wasm, err := gobuild.Build(context.Background(), ".", "-X main.version=test")
	if err != nil {
		return nil, err
	}
	return host.Compile(context.Background(), wasm)
})

// events is one rule that tracks every request with a client id.
const events = `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}]}]}`

// edge is an Envoy with the filter.
type edge struct {
	*host.World
	t      *testing.T
	shared func(*host.Call) // see passTwice
}

func newEdge(t *testing.T, config host.Config) *edge {
	t.Helper()
	m, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	if config.PluginConfig == nil {
		config.PluginConfig = []byte(events)
	}
	config.Workers = max(config.Workers, 2)
	w, err := host.NewWorld(m, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the filter's log:\n%v", w.Logs())
		}
	})
	return &edge{World: w, t: t}
}

var eventStream = host.Response(200, "content-type", "text/event-stream")

// pass lets whole seconds pass: timers and wake-ups come.
func (e *edge) pass(d time.Duration) {
	for range int(d / time.Second) {
		e.Advance(time.Second)
		e.Run()
	}
}

// request lets a request for an event stream arrive, and go on to the backend.
func (e *edge) request(worker int, client string) *host.Stream {
	e.t.Helper()
	s := e.Worker(worker).Open(host.Request("GET", "/events", "accept", "text/event-stream", "x-client-id", client))
	if got := s.RequestHeaders(true); got != host.Continue {
		e.t.Fatalf("request of %s on worker %d: action %v, want it to continue", client, worker, got)
	}
	return s
}

// open opens an event stream and lets its first event through.
func (e *edge) open(worker int, client string) *host.Stream {
	e.t.Helper()
	s := e.request(worker, client)
	s.ResponseHeaders(eventStream, false)
	s.ResponseBody([]byte("data: hello\n\n"), false)
	return s
}

// live fails the test unless s lives exactly if want is true.
func (e *edge) live(s *host.Stream, want bool) {
	e.t.Helper()
	if s.Ended() == want {
		e.t.Errorf("stream %d of worker %d: live %v, want %v", s.ID(), s.Worker().Index(), !s.Ended(), want)
	}
}

// superseded fails the test unless s was reset, with the reason that the access log would have.
func (e *edge) superseded(s *host.Stream) {
	e.t.Helper()
	if s.Ending() != host.Reset {
		e.t.Errorf("stream %d of worker %d: ending %v, want it reset", s.ID(), s.Worker().Index(), s.Ending())
	}
	if got := s.FilterState()["wasm.streamlatch.reason"]; got != "superseded" {
		e.t.Errorf("stream %d of worker %d: reason %q, want superseded", s.ID(), s.Worker().Index(), got)
	}
}

// counted fails the test unless these metrics, without the prefix streamlatch., have these values,
// and the gauges of active streams add up to the number of streams in the registry.
func (e *edge) counted(want map[string]uint64) {
	e.t.Helper()
	m := e.Metrics()
	got := map[string]uint64{}
	for name := range want {
		value, ok := m.Counters["streamlatch."+name]
		if !ok {
			value, ok = m.Gauges["streamlatch."+name]
		}
		if !ok {
			e.t.Fatalf("no metric %s among %v", name, m)
		}
		got[name] = value
	}
	if !maps.Equal(got, want) {
		e.t.Errorf("metrics %v, want %v", got, want)
	}
	var gauges uint64
	for name, value := range m.Gauges {
		if strings.HasSuffix(name, ".active") {
			gauges += value
		}
	}
	if n := e.registered(); gauges != uint64(n) {
		e.t.Errorf("gauges of active streams add up to %d, the registry holds %d", gauges, n)
	}
}

// registered returns the number of streams in the registry, as read from shared data.
func (e *edge) registered() int {
	e.t.Helper()
	n := 0
	for key, value := range e.SharedData() {
		if !strings.HasPrefix(key, "streamlatch/3/b/") {
			continue
		}
		b, err := registry.ParseBucket(value.Bytes)
		if err != nil {
			e.t.Fatalf("%s: %v", key, err)
		}
		for _, entry := range b.Entries {
			n += len(entry.Streams)
		}
	}
	return n
}
