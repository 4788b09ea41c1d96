package main_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// The status of a listener for operators counts what all workers have seen, in whichever plugin
// context, and lists rules that have seen nothing.
func TestStatusOfEveryWorkerAndListener(t *testing.T) {
	const rules = `{"rules": [
		{"name": "events", "match": {"path": {"prefix": "/events"}}, "client": [{"header": "x-tenant"}, {"header": "x-client-id"}]},
		{"name": "unused", "match": {"path": {"prefix": "/unused"}}, "client": [{"source_address": true}]}]}`
	e := newEdge(t, host.Config{VMID: "shared", Workers: 3, PluginConfig: []byte(rules)})
	clients := e.Listeners()[0]
	operators := e.listen(`{"rules": [], "admin_path": "/streamlatch"}`)
	for worker := range 3 {
		for _, headers := range [][]string{{}, {"x-tenant", "t"}, {"x-tenant", "t", "x-client-id", "alice"}} {
			s := clients.Open(worker, host.Request("GET", "/events", append(headers, "accept", "text/event-stream")...))
			s.RequestHeaders(true)
			s.ResponseHeaders(eventStream, false)
		}
	}
	e.Advance(time.Second) // the tick counts the requests
	for worker := range 3 {
		asked := operators.Open(worker, host.Request("GET", "/streamlatch"))
		asked.RequestHeaders(true)
		got := string(asked.LocalReply().Body)
		for _, want := range []string{
			`"vm_id":"shared"`,
			`{"name":"events","active":1,"matched":9,"tracked":3,"no_key":6,"missing":[{"source":{"header":"x-tenant"},"requests":3},{"source":{"header":"x-client-id"},"requests":3}]}`,
			`{"name":"unused","active":0,"matched":0,"tracked":0,"no_key":0,"missing":[],"hint":"no request has matched`,
		} {
			if !strings.Contains(got, want) {
				t.Errorf("asked on worker %d: %s, want %s in it", worker, got, want)
			}
		}
	}
	e.counted(map[string]uint64{"events.no_key": 6, "events.no_key_second": 3, "events.matched": 9, "unused.matched": 0})
}

// With another vm_id than that of the listeners for clients, the listener for operators says so.
func TestStatusWithoutRules(t *testing.T) {
	e := newEdge(t, host.Config{VMID: "other", PluginConfig: []byte(`{"rules": [], "admin_path": "/streamlatch"}`)})
	asked := e.Worker(0).Open(host.Request("GET", "/streamlatch"))
	asked.RequestHeaders(true)
	got := string(asked.LocalReply().Body)
	const want = `"vm_id":"other","rules":[],"workers":[],"totals":{"active":0,"workers":0},"hint":"no filter with rules has started with this vm_id`
	if !strings.Contains(got, want) {
		t.Errorf("got %s, want %s in it", got, want)
	}
}

// The log names the timeout that has cut a stream. Envoy can still be asked when it tells of the
// end.
func TestCutByTimeout(t *testing.T) {
	e := newEdge(t, host.Config{})
	s := e.open(0, "alice")
	e.pass(15 * time.Second)
	s.SetProperty([]byte("response_timeout"), "response", "code_details")
	s.End()
	found := 0
	for _, entry := range e.Logs() {
		if strings.HasPrefix(entry.Message, "cut ") {
			found++
			if entry.Level != host.LogWarn || !strings.Contains(entry.Message, `duration_ms=15000 by=response_timeout hint="the route needs timeout: 0s"`) {
				t.Errorf("the log says %+v", entry)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d lines, want one", found)
	}
}
