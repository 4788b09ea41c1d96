package deadline_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/streamlatch/streamlatch/filter/deadline"
)

// TestAgainstMap applies the same random operations to a queue and to a plain map of deadlines.
func TestAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q deadline.Queue[int]
		timers := make([]deadline.Timer[int], 8)
		for i := range timers {
			timers[i].Value = i
		}
		deadlines := map[int]int64{} // of the scheduled timers, by Value
		anyTimer := func(t *rapid.T) int { return rapid.IntRange(0, len(timers)-1).Draw(t, "timer") }
		t.Repeat(map[string]func(*rapid.T){
			"schedule": func(t *rapid.T) {
				i, at := anyTimer(t), rapid.Int64Range(0, 20).Draw(t, "at")
				q.Schedule(&timers[i], at)
				deadlines[i] = at
			},
			"cancel": func(t *rapid.T) {
				i := anyTimer(t)
				q.Cancel(&timers[i])
				delete(deadlines, i)
			},
			"next": func(t *rapid.T) {
				now := rapid.Int64Range(0, 20).Draw(t, "now")
				earliest, found := int64(0), false
				for _, at := range deadlines {
					if !found || at < earliest {
						earliest, found = at, true
					}
				}
				got, ok := q.Next(now)
				if want := found && earliest <= now; ok != want {
					t.Fatalf("Next(%d) returned %v, want %v; deadlines %v", now, ok, want, deadlines)
				}
				if !ok {
					return
				}
				if at := deadlines[got.Value]; at != earliest {
					t.Fatalf("Next(%d) returned timer %d with deadline %d, want deadline %d; deadlines %v",
						now, got.Value, at, earliest, deadlines)
				}
				delete(deadlines, got.Value)
			},
			"": func(t *rapid.T) {
				if q.Len() != len(deadlines) {
					t.Fatalf("Len is %d, want %d; deadlines %v", q.Len(), len(deadlines), deadlines)
				}
			},
		})
	})
}
