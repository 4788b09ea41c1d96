package main_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// Configurations change while streams live. Envoy then runs the old and the new configuration side
// by side in every VM. Each keeps the streams that began under it, and the old one stays until its
// streams are over. Two listeners that use the filter run side by side in the same way, for as long
// as both exist.

const (
	twoRules = `{"rules": [
		{"name": "news", "match": {"path": {"prefix": "/news"}}, "client": [{"header": "x-client-id"}]},
		{"name": "events", "client": [{"header": "x-client-id"}]}]}`
	threeStreams = `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "max_streams": 3}]}`
)

// listen adds a listener, which gets all new streams from then on unless a test names another.
func (e *edge) listen(config string) *host.Listener {
	e.t.Helper()
	l, err := e.AddListener([]byte(config))
	if err != nil {
		e.t.Fatal(err)
	}
	return l
}

// openOn is open for a given listener and path.
func (e *edge) openOn(l *host.Listener, worker int, path, client string) *host.Stream {
	e.t.Helper()
	s := l.Open(worker, host.Request("GET", path, "accept", "text/event-stream", "x-client-id", client))
	if got := s.RequestHeaders(true); got != host.Continue {
		e.t.Fatalf("request of %s on worker %d: action %v, want it to continue", client, worker, got)
	}
	s.ResponseHeaders(eventStream, false)
	s.ResponseBody([]byte("data: hello\n\n"), false)
	return s
}

// measured fails the test unless these counters and gauges, without the prefix streamlatch., have
// these values.
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

// A stream of the old configuration is superseded by one of the new, on the same worker, where the
// two share a VM, and on another.
func TestTakeoverAcrossAnUpdate(t *testing.T) {
	for name, worker := range map[string]int{"same worker": 0, "another worker": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, host.Config{Workers: 4})
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

			before.Drain() // bob's stream lives on, and can still be superseded
			again := e.open(worker, "bob")
			e.Run()
			e.superseded(other)
			fresh.End()
			again.End()
			e.measured(map[string]uint64{"events.superseded": 2, "events.released": 2, "events.active": 0})
		})
	}
}

// A configuration that was drained leaves nothing to be swept after its last stream. The other
// streams of its workers live on.
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

// The new configuration lacks a rule. The rule's streams live on under the old configuration, and
// are released when they end.
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
	e.openOn(after, 1, "/news", "bob") // here rule events applies, whose clients are others
	e.Run()
	e.live(second, true)
	second.End()
	e.measured(map[string]uint64{"news.active": 0, "news.released": 2, "news.superseded": 0, "events.active": 1, "swept": 0})
}

// The new configuration lacks a rule, and the worker of the rule's stream dies. The stream is swept
// and counted under its rule.
func TestDeadStreamsOfARemovedRule(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(twoRules), FailurePolicy: host.FailReload})
	before := e.Listeners()[0]
	e.openOn(before, 0, "/news", "alice")
	e.listen(events)
	e.open(1, "bob") // on the worker that is to sweep
	e.Worker(0).Crash()
	before.Drain()
	e.Advance(60 * time.Second)
	e.measured(map[string]uint64{"news.active": 0, "events.active": 1, "swept": 1})
}

// A client has more streams than the new configuration allows. It keeps them until it opens the
// next one, which supersedes them all.
func TestUpdateThatLowersMaxStreams(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{Workers: 4, PluginConfig: []byte(threeStreams)})
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

// Two listeners with one vm_id share the clients of rules that have the same name, and of no other
// rules.
func TestTwoListenersShareClients(t *testing.T) {
	for name, worker := range map[string]int{"same worker": 1, "another worker": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, host.Config{Workers: 4})
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

// A refused configuration changes nothing. The streams of the old one live on and can be
// superseded.
func TestRefusedUpdate(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{Workers: 4})
	old, other := e.open(0, "alice"), e.open(1, "bob")
	metrics, lines := e.Metrics(), len(e.Logs())
	_, err := e.AddListener([]byte(`{"rules": [{"name": "events", "cleint": [{"header": "x-client-id"}]}]}`))
	var refused *host.StartError
	if !errors.As(err, &refused) || len(e.Logs()[lines:].Containing(`unknown field "cleint"`)) != 1 {
		t.Fatalf("error %v, want the configuration refused, with one log line about its fault", err)
	}
	if got := e.Metrics(); len(got.Counters) != len(metrics.Counters) || len(got.Gauges) != len(metrics.Gauges) {
		t.Errorf("the refused configuration defined metrics: %v, before it %v", got, metrics)
	}
	fresh := e.open(2, "alice")
	e.Run()
	e.superseded(old)
	e.Advance(30 * time.Second)
	e.live(fresh, true)
	e.live(other, true)
	e.measured(map[string]uint64{"events.opened": 3, "events.superseded": 1, "events.active": 2, "swept": 0})
}

// The gauge max_total_streams shows the limit of the newest configuration that has rules. A
// listener for operators only, and a refused configuration, do not change it.
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
		t.Error("a faulty configuration was accepted")
	}
	shows(70)
	e.listen(events)
	shows(0)

	// Envoy starts the first configuration again after a crash. Then that one is the newest,
	// though others came later.
	e.openOn(first, 0, "/", "alice")
	e.Worker(0).Crash()
	e.Advance(5 * time.Second)
	e.openOn(first, 0, "/", "alice")
	shows(50)
}

// A configuration is replaced while a request is held. The old configuration goes on until the
// request is over: it is refused after its wait, or let in if there is room by then.
func TestUpdateWhileARequestIsHeld(t *testing.T) {
	t.Parallel()
	for _, leaves := range []bool{false, true} {
		e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "on_duplicate": "reject_new"}]}`)})
		before := e.Listeners()[0]
		old := e.openOn(before, 0, "/events", "alice")
		ask := func() *host.Stream {
			s := before.Open(0, host.Request("GET", "/events", "accept", "text/event-stream", "x-client-id", "alice"))
			s.RequestHeaders(true)
			return s
		}
		if refused := ask(); refused.LocalReply() == nil {
			t.Fatal("a second stream is not refused")
		}
		held := ask()
		if held.LocalReply() != nil || held.ToUpstream().Headers != nil {
			t.Fatalf("a client that comes back early: %v, want it held", held.LocalReply())
		}
		e.listen(threeStreams)
		before.Drain()
		if leaves {
			old.End()
		}
		e.Advance(3 * time.Second)
		if gone := held.ToUpstream().Headers != nil; gone != leaves || (held.LocalReply() == nil) != leaves {
			t.Errorf("the place is free: %v; the held request went on: %v, and was answered %v", leaves, gone, held.LocalReply())
		}
		held.End()
		old.End()
		e.Advance(5 * time.Second)
		e.measured(map[string]uint64{"events.active": 0})
	}
}
