package http3

import (
	"fmt"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// However a stream ends, its client's place is free soon. Envoy does not call the filter in on_log
// for all of these.
func releases(t *testing.T, e edge) {
	type end func(t *testing.T, s *rig.Stream, conn *rig.Conn, client *connection)
	release := func(rule, about string, end end) {
		t.Run(rule+"/"+about, func(t *testing.T) {
			id := rigtest.NewClient()
			before := rigtest.CountsOf(rigtest.Metrics(t, e.Rig), rule)
			conn, client := e.dialHTTP3(t, 0)
			s := rigtest.Open(t, conn, rigtest.Get(rule, id))
			rigtest.WantCountsSince(t, e.Rig, rule, before, rigtest.Counts{Opened: 1, Active: 1})
			end(t, s, conn, client)
			rigtest.WantCountsSince(t, e.Rig, rule, before, rigtest.Counts{Opened: 1, Released: 1})
			rigtest.WantLive(t, e.Rig, id)

			next := rigtest.Open(t, e.dial(t, rig.HTTP3, 1), rigtest.Get(rule, id))
			rigtest.WantFlow(t, e.Rig, next)
			next.Close()
			rigtest.WantCountsSince(t, e.Rig, rule, before, rigtest.Counts{Opened: 2, Released: 2})
		})
	}
	vanish := func(t *testing.T, client *connection) {
		t.Helper()
		if err := client.vanish(); err != nil {
			t.Fatal(err)
		}
	}
	for _, rule := range []string{"one", "early", "polite"} {
		release(rule, "the backend ends it", func(t *testing.T, s *rig.Stream, _ *rig.Conn, _ *connection) {
			e.Backend.End(s.ID)
			rigtest.WantEnd(t, s, rig.Finished)
		})
		release(rule, "the client vanishes and the backend ends it", func(t *testing.T, s *rig.Stream, _ *rig.Conn, client *connection) {
			vanish(t, client)
			e.Backend.End(s.ID)
		})
		release(rule, "the client leaves", func(_ *testing.T, s *rig.Stream, _ *rig.Conn, _ *connection) { s.Close() })
		release(rule, "the client closes the connection", func(t *testing.T, _ *rig.Stream, conn *rig.Conn, _ *connection) {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	release("one", "the client vanishes", func(t *testing.T, _ *rig.Stream, _ *rig.Conn, client *connection) { vanish(t, client) })
	t.Run("many at once", func(t *testing.T) {
		const connections, each = 4, 64 // Envoy lets a client have 100 streams on a connection
		before := rigtest.CountsOf(rigtest.Metrics(t, e.Rig), "one")
		var streams []*rig.Stream
		for i := range connections {
			conn := e.dial(t, rig.HTTP3, i%2)
			for range each {
				streams = append(streams, rigtest.Open(t, conn, rigtest.Get("one", rigtest.NewClient())))
			}
		}
		rigtest.WantCountsSince(t, e.Rig, "one", before, rigtest.Counts{Opened: connections * each, Active: connections * each})
		for _, s := range streams {
			e.Backend.End(s.ID)
		}
		rigtest.WantCountsSince(t, e.Rig, "one", before, rigtest.Counts{Opened: connections * each, Released: connections * each})
	})
	// Not streams, but requests that the rule has matched: nothing of them may stay.
	for _, answer := range []rig.Answer{rig.JSON, rig.Unauthorized} {
		t.Run("an answer that is no stream: "+string(answer), func(t *testing.T) {
			for _, rule := range []string{"one", "early"} {
				before := rigtest.CountsOf(rigtest.Metrics(t, e.Rig), rule)
				q := rigtest.Get(rule, rigtest.NewClient())
				q.Answer = answer
				rigtest.Do(t, e.dial(t, rig.HTTP3, 0), q)
				wait.Until(t, func() error {
					if got := rigtest.CountsOf(rigtest.Metrics(t, e.Rig), rule).Since(before); got != (rigtest.Counts{}) {
						return fmt.Errorf("rule %s: the counts have moved by %+v", rule, got)
					}
					return nil
				})
			}
		})
	}
}
