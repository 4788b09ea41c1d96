package streams

import (
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// A rule allows two streams. The third stream supersedes the oldest one.
func TestTwoStreamsAllowed(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		before := rigtest.CountsOf(rigtest.Metrics(t, r), "two")
		client := rigtest.NewClient()
		var streams []*rig.Stream
		for worker := range 2 {
			streams = append(streams, rigtest.Open(t, rigtest.Dial(t, r, p, worker), rigtest.Get("two", client)))
		}
		rigtest.WantLive(t, r, client, streams...)
		rigtest.WantCountsSince(t, r, "two", before, rigtest.Counts{Opened: 2, Active: 2})
		for i, worker := range []int{3, 0, 0} {
			streams = append(streams, rigtest.Open(t, rigtest.Dial(t, r, p, worker), rigtest.Get("two", client)))
			rigtest.WantEnd(t, streams[i], rig.Reset)
			rigtest.WantLive(t, r, client, streams[i+1:]...)
			rigtest.WantFlow(t, r, streams[i+1])
			rigtest.WantFlow(t, r, streams[i+2])
		}
		rigtest.WantCountsSince(t, r, "two", before, rigtest.Counts{Opened: 5, Superseded: 3, Active: 2})
		streams[3].Close()
		streams[4].Close()
		rigtest.WantCountsSince(t, r, "two", before, rigtest.Counts{Opened: 5, Superseded: 3, Released: 2})
	})
}

// Streams end because of their age or because their backend is silent. Prometheus sees this for
// each rule.
func TestLimitsInTimeAndTheirMetrics(t *testing.T) {
	t.Parallel()
	const rules = `{"rules": [
		{"name": "aging",  "match": {"path": {"prefix": "/aging/"}},  "client": [{"query": "client"}], "max_lifetime": "2s", "lifetime_jitter_percent": 50},
		{"name": "silent", "match": {"path": {"prefix": "/silent/"}}, "client": [{"query": "client"}], "idle_timeout": "3s"},
		{"name": "moved",  "match": {"path": {"prefix": "/moved/"}},  "client": [{"query": "client"}]}
	]}`
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: rules, LogLevel: "wasm:debug"})

	const many = 20
	var aging []*rig.Stream
	began := time.Now()
	for i := range many {
		aging = append(aging, rigtest.Open(t, rigtest.Dial(t, r, rig.Protocol(1+i%2), i%2), rigtest.Get("aging", rigtest.NewClient())))
	}
	client := rigtest.NewClient()
	old := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("moved", client))
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 1), rigtest.Get("moved", client))
	rigtest.WantEnd(t, old, rig.Reset)

	silent := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("silent", rigtest.NewClient()))
	busy := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Get("silent", rigtest.NewClient()))
	var longest time.Duration // the longest silence on the busy stream, which a slow machine can cause
	for last, end := time.Now(), time.Now().Add(wait.Patience); silent.Live() && time.Now().Before(end); {
		r.Backend.Send(busy.ID, "tick")
		longest, last = max(longest, time.Since(last)), time.Now()
		time.Sleep(100 * time.Millisecond)
	}
	rigtest.WantEnd(t, silent, rig.Reset)
	if !busy.Live() && longest < 2*time.Second {
		t.Errorf("a stream with a longest silence of %v and an idle_timeout of 3s: got its end, want it open", longest)
	}
	busy.Close()
	newer.Close()

	for _, s := range aging {
		rigtest.WantEnd(t, s, rig.Reset)
		end, err := s.End(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if age := end.At.Sub(began); age < 999*time.Millisecond {
			t.Errorf("got the end of a stream %v after the first one was opened, want at least half of max_lifetime", age)
		}
	}
	rigtest.WantCounts(t, r, "aging", rigtest.Counts{Opened: many})
	for name, want := range map[string]uint64{"aging.expired": many, "silent.idle": 1, "moved.superseded": 1} {
		if got := rigtest.Metrics(t, r)[name]; got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}

	rigtest.WantSamples(t, r,
		`streamlatch_opened{streamlatch_rule="aging"} 20`,
		`streamlatch_expired{streamlatch_rule="aging"} 20`,
		`streamlatch_idle{streamlatch_rule="silent"} 1`,
		`streamlatch_active{streamlatch_rule="moved"} 0`,
		`streamlatch_duration_ms_count{streamlatch_rule="aging"} 20`,
		`streamlatch_duration_ms_count{streamlatch_rule="moved"} 2`,
		`streamlatch_superseded_age_ms_count{streamlatch_rule="moved"} 1`,
		// The buckets distinguish a day from a week, and no stream here lived shorter than 100 ms.
		`streamlatch_superseded_age_ms_bucket{streamlatch_rule="moved",le="86400000"} 1`,
		`streamlatch_duration_ms_bucket{streamlatch_rule="aging",le="604800000"} 20`,
		`streamlatch_duration_ms_bucket{streamlatch_rule="aging",le="+Inf"} 20`,
		`streamlatch_duration_ms_bucket{streamlatch_rule="aging",le="100"} 0`,
	)
	rigtest.WantReasons(t, r, map[string]int{"expired": many, "idle": 1, "superseded": 1})
}
