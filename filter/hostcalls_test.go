package main_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// What the filter costs is mostly what it asks of Envoy: a call that returns bytes costs as much as
// a callback. These are all the calls of a stream's life, and of a takeover.
func TestCallsOfAStream(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{LogLevel: host.LogInfo, PluginConfig: []byte(`{"rules": [{"name": "events",
		"match": {"path": {"prefix": "/events"}, "headers": [{"name": "accept", "contains": "text/event-stream"}]},
		"client": [{"header": "x-client-id"}]}]}`)})
	var calls []string
	var s, old, next *host.Stream
	ask := func(worker int, client, accept string) *host.Stream {
		s := e.Worker(worker).Open(host.Request("GET", "/events", "accept", accept, "x-client-id", client,
			"cache-control", "no-cache", "pragma", "no-cache"))
		s.RequestHeaders(true)
		return s
	}
	for worker := range e.Workers() { // they join, and the clients' buckets exist
		for _, client := range []string{"alice", "bob"} {
			e.open(worker, client).End()
		}
	}
	old = e.open(0, "bob")
	e.Intercept(func(c *host.Call) {
		call := strings.TrimPrefix(c.Name, "proxy_")
		if c.Key != "" {
			call += " " + strings.NewReplacer("streamlatch.events.", "", "streamlatch/3/", "").Replace(c.Key)
		}
		calls = append(calls, regexp.MustCompile(`b/\d+`).ReplaceAllString(call, "b/N"))
	})
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"a request without a rule", func() { ask(0, "alice", "text/html").End() }, []string{
			"get_header_map_pairs", // the request before it had a rule
		}},
		{"another", func() { ask(0, "alice", "text/html").End() }, []string{
			"get_header_map_value accept",
		}},
		{"a request with a rule", func() { ask(0, "alice", "text/event-stream").End() }, []string{
			"get_header_map_value accept", "get_header_map_pairs",
			"get_shared_data b/N",
		}},
		{"another", func() { s = ask(0, "alice", "text/event-stream") }, []string{
			"get_header_map_pairs",
			"get_shared_data b/N",
		}},
		{"its response", func() { s.ResponseHeaders(eventStream, false) }, []string{
			"get_header_map_pairs",
			"set_shared_data b/N",
			"increment_metric active", "increment_metric opened",
		}},
		{"its first event", func() { s.ResponseBody([]byte("data: hello\n\n"), false) }, nil},
		{"its end", func() { s.End() }, []string{
			"get_shared_data b/N", "set_shared_data b/N",
			"increment_metric active", "increment_metric released", "record_metric duration_ms",
		}},
		{"a takeover", func() { next = ask(1, "bob", "text/event-stream"); next.ResponseHeaders(eventStream, false) }, []string{
			"get_header_map_pairs",
			"get_shared_data b/N",
			"get_header_map_pairs",
			"get_shared_data w/0", "set_shared_data w/0", // a message is announced
			"set_shared_data b/N",
			"enqueue_shared_queue",
			"increment_metric superseded", "record_metric superseded_age_ms", "increment_metric opened",
		}},
		{"the old stream's worker wakes up", func() { e.Run() }, []string{
			"dequeue_shared_queue", "dequeue_shared_queue",
			"set_effective_context", "set_property streamlatch.reason", "close_stream",
			"record_metric duration_ms",
		}},
	} {
		calls = nil
		step.do()
		if !slices.Equal(calls, step.want) {
			t.Errorf("%s:\n%s\nwant\n%s", step.name, strings.Join(calls, "\n"), strings.Join(step.want, "\n"))
		}
	}
	e.Intercept(nil)
	e.superseded(old)
	next.End()
}

// A request of a client with many streams on this worker is compared with each of them, in case it
// passes two filters. It is marked once in a callback, and not once for each.
func TestCallsAmongManyStreams(t *testing.T) {
	t.Parallel()
	const streams = 8
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "max_streams": 8}]}`)})
	for range streams {
		e.open(0, "alice")
	}
	calls := map[string]int{}
	e.Intercept(func(c *host.Call) { calls[c.Name+" "+c.Key]++ })
	e.open(0, "alice")
	e.Intercept(nil)
	const callbacks = 2 // the request and its response
	mark := "proxy_set_property " + host.PropertyPath("streamlatch.mark")
	if calls[mark] != callbacks || calls["proxy_set_effective_context "] > callbacks*(streams+1) {
		t.Errorf("hostcalls: %v; want %d of %q", calls, callbacks, mark)
	}
}
