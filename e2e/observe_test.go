package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// In observe mode the filter counts what it would do, and touches nothing.
func TestObserve(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	client := newClient()
	var streams []*rig.Stream
	for worker, p := range []rig.Protocol{rig.HTTP1, rig.HTTP2, rig.HTTP1, rig.HTTP2} {
		streams = append(streams, open(t, dial(t, r, p, worker), get("observe", client)))
	}
	streams = append(streams, open(t, dial(t, r, rig.HTTP2, 3), get("observe", client)))
	wantCounts(t, r, "observe", counts{opened: 5, superseded: 4, active: 1})
	time.Sleep(3 * time.Second) // what the filter might do to them it does by its next tick, a second from now
	wantLive(t, r, client, streams...)
	for _, s := range streams {
		wantFlow(t, r, s)
		s.Close()
	}
	wantLive(t, r, client)
	wantCounts(t, r, "observe", counts{opened: 5, superseded: 4, released: 1})
}

// A rule that observes says in its metrics what it would do, and does none of it.
func TestObserveTouchesNothing(t *testing.T) {
	t.Parallel()
	const rules = `{"rules": [
		{"name": "dup",   "match": {"path": {"prefix": "/dup/"}},   "client": [{"query": "client"}], "mode": "observe", "on_duplicate": "reject_new"},
		{"name": "early", "match": {"path": {"prefix": "/early/"}}, "client": [{"query": "client"}], "mode": "observe", "on_duplicate": "reject_new", "claim_at": "request"},
		{"name": "limit", "match": {"path": {"prefix": "/limit/"}}, "client": [{"query": "client"}], "mode": "observe", "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}, "goodbye_grace": "1s"},
		{"name": "life",  "match": {"path": {"prefix": "/life/"}},  "client": [{"query": "client"}], "mode": "observe", "max_lifetime": "1s", "goodbye_grace": "1s"},
		{"name": "idle",  "match": {"path": {"prefix": "/idle/"}},  "client": [{"query": "client"}], "mode": "observe", "idle_timeout": "1s"}
	]}`
	r := start(t, rig.Options{Concurrency: 2, Filter: rules, LogLevel: "wasm:debug"})
	wantMetric := func(name string, want uint64) {
		t.Helper()
		eventually(t, func() error {
			if got := metrics(t, r)[name]; got != want {
				return fmt.Errorf("%s is %d, want %d", name, got, want)
			}
			return nil
		})
	}
	var all []*rig.Stream
	for _, rule := range []string{"dup", "early"} {
		client := newClient()
		for i, p := range []rig.Protocol{rig.HTTP1, rig.HTTP2, rig.HTTP1} {
			q := get(rule, client)
			if i == 2 {
				q.Method = "POST"
			}
			s := open(t, dial(t, r, p, i%2), q)
			if s.Header.Get("x-backend") != "rig" {
				t.Errorf("%s: the answer is not the backend's: %v", rule, s.Header)
			}
			all = append(all, s)
		}
		wantMetric(rule+".refused_duplicate", 2)
	}
	client := newClient()
	for i := range 3 {
		all = append(all, open(t, dial(t, r, rig.HTTP1, i%2), get("limit", client)))
	}
	wantMetric("limit.superseded", 1)
	wantMetric("limit.refused_takeover_limit", 1)
	all = append(all, open(t, dial(t, r, rig.HTTP1, 0), get("life", client)), open(t, dial(t, r, rig.HTTP2, 0), get("idle", client)))
	wantMetric("life.expired", 1)
	wantMetric("idle.idle", 1)
	time.Sleep(3 * time.Second) // whatever is done to a stream is done by the next tick, or the one after a grace
	for _, s := range all {
		wantFlow(t, r, s)
		wantFlow(t, r, s)
		if strings.Contains(s.Received(), "streamlatch") {
			t.Errorf("stream %d got %q", s.ID, s.Received())
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
			t.Errorf("access log: %s; want no reason", line)
		}
	}
}
