package main_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// Configurations change while streams live. Envoy then runs the old one and the new one side by side in every VM, each
// with the streams that it has admitted, until the old one's are over. Two listeners that use the filter are the same
// for as long as both stand.

const (
	twoRules = `{"rules": [
		{"name": "news", "match": {"path": {"prefix": "/news"}}, "client": [{"header": "x-client-id"}]},
		{"name": "events", "client": [{"header": "x-client-id"}]}]}`
	threeStreams = `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "max_streams": 3}]}`
)

// listen adds a listener, to which all new streams go by default.
func (e *edge) listen(config string) *host.Listener {
	e.t.Helper()
	l, err := e.AddListener([]byte(config))
	if err != nil {
		e.t.Fatal(err)
	}
	return l
}

// openOn is open for a listener and a path.
func (e *edge) openOn(l *host.Listener, worker int, path, client string) *host.Stream {
	e.t.Helper()
	s := l.Open(worker, host.Request("GET", path, "accept", "text/event-stream", "x-client-id", client))
	if got := s.RequestHeaders(true); got != host.Continue {
		e.t.Fatalf("request of %s on worker %d: %v, want it to continue", client, worker, got)
	}
	s.ResponseHeaders(eventStream, false)
	s.ResponseBody([]byte("data: hello\n\n"), false)
	return s
}

// measured fails the test unless these counters and gauges, without the prefix streamlatch., have these values.
func (e *edge) measured(want map[string]uint64) {
	e.t.Helper()
	m := e.Metrics()
	for name, value := range want {
		got, ok := m.Counters["streamlatch."+name]
		if !ok {
			got, ok = m.Gauges["streamlatch."+name]
		}
		if !ok || got != value {
			e.t.Errorf("%s is %d (defined: %v), want %d", name, got, ok, value)
		}
	}
}

// A stream that was admitted under the old configuration is taken over under the new one, on its own worker, where the
// two share a VM, and on another.
func TestTakeoverAcrossAnUpdate(t *testing.T) {
	for name, worker := range map[string]int{"same worker": 0, "another worker": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, host.Config{})
			old := e.open(0, "alice")
			other := e.open(0, "bob")
			before := e.Listeners()[0]
			e.listen(twoRules)
			e.live(old, true)
			fresh := e.open(worker, "alice")
			e.Run()
			e.superseded(old)
			e.live(fresh, true)
			e.live(other, true)
			e.measured(map[string]uint64{"events.opened": 3, "events.superseded": 1, "events.active": 2})

			before.Drain() // bob's stream is still its own, and can be taken over
			again := e.open(worker, "bob")
			e.Run()
			e.superseded(other)
			fresh.End()
			again.End()
			e.measured(map[string]uint64{"events.superseded": 2, "events.released": 2, "events.active": 0})
		})
	}
}

// Once its streams are over a drained configuration leaves nothing that anybody would have to clean up as if it had
// died, and the other streams of its workers go on.
func TestDrainedConfiguration(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	before := e.Listeners()[0]
	old := e.open(0, "alice")
	e.listen(twoRules)
	fresh, elsewhere := e.open(0, "bob"), e.open(1, "carol")
	before.Drain()
	e.Advance(30 * time.Second)
	e.live(old, true)
	old.End()
	e.Advance(30 * time.Second)
	e.live(fresh, true)
	e.live(elsewhere, true)
	e.measured(map[string]uint64{"swept": 0, "lost_wakeups": 0, "events.released": 1, "events.active": 2})
}

// Streams of a rule that the new configuration does not have live on under the old one, and are released when they end.
func TestUpdateThatRemovesARule(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(twoRules)})
	before := e.Listeners()[0]
	first, second := e.openOn(before, 0, "/news", "alice"), e.openOn(before, 1, "/news", "bob")
	e.measured(map[string]uint64{"news.active": 2, "events.active": 0})

	after := e.listen(events)
	first.End()
	e.measured(map[string]uint64{"news.active": 1, "news.released": 1})
	before.Drain()
	e.Advance(30 * time.Second)
	e.live(second, true)
	e.openOn(after, 1, "/news", "bob") // now the rule events applies, which has clients of its own
	e.Run()
	e.live(second, true)
	second.End()
	e.measured(map[string]uint64{"news.active": 0, "news.released": 2, "news.superseded": 0, "events.active": 1, "swept": 0})
}

// The same when they do not end, but their worker dies.
func TestDeadStreamsOfARemovedRule(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(twoRules), FailurePolicy: host.FailReload})
	before := e.Listeners()[0]
	e.openOn(before, 0, "/news", "alice")
	e.listen(events)
	e.open(1, "bob") // who is left to sweep
	e.Worker(0).Crash()
	before.Drain()
	e.Advance(60 * time.Second)
	e.measured(map[string]uint64{"news.active": 0, "events.active": 1, "swept": 1})
}

// A client that has more streams than a new configuration allows keeps them until it opens the next one, which is then
// the only one.
func TestUpdateThatLowersMaxStreams(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(threeStreams)})
	var old []*host.Stream
	for worker := range 3 {
		old = append(old, e.open(worker, "alice"))
	}
	e.listen(events)
	e.Run()
	e.Advance(5 * time.Second)
	for _, s := range old {
		e.live(s, true)
	}
	fresh := e.open(2, "alice")
	e.Run()
	for _, s := range old {
		e.superseded(s)
	}
	e.live(fresh, true)
	e.measured(map[string]uint64{"events.opened": 4, "events.superseded": 3, "events.active": 1})
}

// Two listeners with one vm_id share the clients of rules that have the same name, and those of no others.
func TestTwoListenersShareClients(t *testing.T) {
	for name, worker := range map[string]int{"same worker": 1, "another worker": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, host.Config{})
			public, internal := e.Listeners()[0], e.listen(twoRules)
			first := e.openOn(public, 1, "/", "alice")
			news := e.openOn(internal, worker, "/news", "alice")
			second := e.openOn(internal, worker, "/", "alice")
			e.Run()
			e.superseded(first)
			e.live(news, true)
			third := e.openOn(public, 1, "/", "alice")
			e.Run()
			e.superseded(second)
			e.live(third, true)
			e.live(news, true)
			e.measured(map[string]uint64{"events.opened": 3, "events.superseded": 2, "events.active": 1, "news.opened": 1, "news.active": 1})
		})
	}
}

// A refused configuration changes nothing: the old one's streams live, and are taken over as ever.
func TestRefusedUpdate(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	old, other := e.open(0, "alice"), e.open(1, "bob")
	metrics, lines := e.Metrics(), len(e.Logs())
	_, err := e.AddListener([]byte(`{"rules": [{"name": "events", "cleint": [{"header": "x-client-id"}]}]}`))
	var refused *host.StartError
	if !errors.As(err, &refused) || len(e.Logs()[lines:].Containing(`unknown field "cleint"`)) != 1 {
		t.Fatalf("error %v, want the configuration refused, with a line about its fault", err)
	}
	if got := e.Metrics(); len(got.Counters) != len(metrics.Counters) || len(got.Gauges) != len(metrics.Gauges) {
		t.Errorf("it has defined metrics: %v, before it %v", got, metrics)
	}
	fresh := e.open(2, "alice")
	e.Run()
	e.superseded(old)
	e.Advance(30 * time.Second)
	e.live(fresh, true)
	e.live(other, true)
	e.measured(map[string]uint64{"events.opened": 3, "events.superseded": 1, "events.active": 2, "swept": 0})
}

// The gauge of the limit is what the newest configuration that lets anybody in says. A listener for operators says
// nothing, and a refused configuration neither.
func TestLimitIsShown(t *testing.T) {
	t.Parallel()
	limited := func(limit string) string { return strings.Replace(events, `{`, `{`+limit+`, `, 1) }
	e := newEdge(t, host.Config{PluginConfig: []byte(limited(`"max_total_streams": 50`)), FailurePolicy: host.FailReload})
	shows := func(want uint64) {
		t.Helper()
		e.measured(map[string]uint64{"max_total_streams": want})
	}
	shows(50)
	first := e.Listeners()[0]
	e.listen(`{"rules": [], "admin_path": "/streamlatch"}`)
	shows(50)
	e.listen(limited(`"max_total_streams": 70`))
	shows(70)
	if _, err := e.AddListener([]byte(limited(`"max_total_streams": 80, "rulez": []`))); err == nil {
		t.Error("a faulty configuration was taken")
	}
	shows(70)
	e.listen(events)
	shows(0)

	// So does one that Envoy starts again, after a crash: it may be older than what others have.
	e.openOn(first, 0, "/", "alice")
	e.Worker(0).Crash()
	e.Advance(5 * time.Second)
	e.openOn(first, 0, "/", "alice")
	shows(50)
}
