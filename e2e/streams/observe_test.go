package streams

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// In observe mode the filter counts what it would do, and changes nothing.
func TestObserve(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	client := rigtest.NewClient()
	var streams []*rig.Stream
	for worker, p := range []rig.Protocol{rig.HTTP1, rig.HTTP2, rig.HTTP1, rig.HTTP2} {
		streams = append(streams, rigtest.Open(t, rigtest.Dial(t, r, p, worker), rigtest.Get("observe", client)))
	}
	streams = append(streams, rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 3), rigtest.Get("observe", client)))
	rigtest.WantCounts(t, r, "observe", rigtest.Counts{Opened: 5, Superseded: 4, Active: 1})
	time.Sleep(3 * time.Second) // a mistake would show at the next tick, after a second
	rigtest.WantLive(t, r, client, streams...)
	for _, s := range streams {
		rigtest.WantFlow(t, r, s)
		s.Close()
	}
	rigtest.WantLive(t, r, client)
	rigtest.WantCounts(t, r, "observe", rigtest.Counts{Opened: 5, Superseded: 4, Released: 1})
}

// With every feature switched on, a rule in observe mode counts what it would do, and does none of
// it.
func TestObserveTouchesNothing(t *testing.T) {
	t.Parallel()
	const rules = `{"rules": [
		{"name": "dup",   "match": {"path": {"prefix": "/dup/"}},   "client": [{"query": "client"}], "mode": "observe", "on_duplicate": "reject_new"},
		{"name": "early", "match": {"path": {"prefix": "/early/"}}, "client": [{"query": "client"}], "mode": "observe", "on_duplicate": "reject_new", "claim_at": "request"},
		{"name": "limit", "match": {"path": {"prefix": "/limit/"}}, "client": [{"query": "client"}], "mode": "observe", "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}, "goodbye_grace": "1s"},
		{"name": "life",  "match": {"path": {"prefix": "/life/"}},  "client": [{"query": "client"}], "mode": "observe", "max_lifetime": "1s", "goodbye_grace": "1s"},
		{"name": "idle",  "match": {"path": {"prefix": "/idle/"}},  "client": [{"query": "client"}], "mode": "observe", "idle_timeout": "1s"}
	]}`
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: rules, LogLevel: "wasm:debug"})
	wantMetric := func(name string, want uint64) {
		t.Helper()
		wait.Until(t, func() error {
			if got := rigtest.Metrics(t, r)[name]; got != want {
				return fmt.Errorf("%s: got %d, want %d", name, got, want)
			}
			return nil
		})
	}
	var all []*rig.Stream
	for _, rule := range []string{"dup", "early"} {
		client := rigtest.NewClient()
		for i, p := range []rig.Protocol{rig.HTTP1, rig.HTTP2, rig.HTTP1} {
			q := rigtest.Get(rule, client)
			if i == 2 {
				q.Method = "POST"
			}
			s := rigtest.Open(t, rigtest.Dial(t, r, p, i%2), q)
			if s.Header.Get("x-backend") != "rig" {
				t.Errorf("%s: want the backend's response, got %v", rule, s.Header)
			}
			all = append(all, s)
		}
		wantMetric(rule+".refused_duplicate", 2)
	}
	client := rigtest.NewClient()
	for i := range 3 {
		all = append(all, rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, i%2), rigtest.Get("limit", client)))
	}
	wantMetric("limit.superseded", 1)
	wantMetric("limit.refused_takeover_limit", 1)
	all = append(all, rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("life", client)), rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Get("idle", client)))
	wantMetric("life.expired", 1)
	wantMetric("idle.idle", 1)
	time.Sleep(3 * time.Second) // a mistake would show at the next tick, or at the one after the grace
	for _, s := range all {
		rigtest.WantFlow(t, r, s)
		rigtest.WantFlow(t, r, s)
		if strings.Contains(s.Received(), "streamlatch") {
			t.Errorf("stream %d got %q, want nothing from the filter", s.ID, s.Received())
		}
		s.Close()
	}
	wantMetric("life.expired", 1)
	wantMetric("idle.idle", 1)
	for _, rule := range []string{"dup", "early", "limit", "life", "idle"} {
		wantMetric(rule+".active", 0)
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, line := range r.Access.Lines() {
		if !strings.Contains(line, `"reason":null`) {
			t.Errorf("access log: got %s, want no reason", line)
		}
	}
}
