package deadline_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/streamlatch/streamlatch/filter/deadline"
)

// TestAgainstAMap drives a queue and a plain map of deadlines side by side.
func TestAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q deadline.Queue[int]
		timers := make([]deadline.Timer[int], 8)
		for i := range timers {
			timers[i].Value = i
		}
		want := map[int]int64{}
		any := func(t *rapid.T) int { return rapid.IntRange(0, len(timers)-1).Draw(t, "timer") }
		t.Repeat(map[string]func(*rapid.T){
			"schedule": func(t *rapid.T) {
				i, at := any(t), rapid.Int64Range(0, 20).Draw(t, "at")
				q.Schedule(&timers[i], at)
				want[i] = at
			},
			"cancel": func(t *rapid.T) {
				i := any(t)
				q.Cancel(&timers[i])
				delete(want, i)
			},
			"next": func(t *rapid.T) {
				now := rapid.Int64Range(0, 20).Draw(t, "now")
				earliest, found := int64(0), false
				for _, at := range want {
					if !found || at < earliest {
						earliest, found = at, true
					}
				}
				got, ok := q.Next(now)
				if ok != (found && earliest <= now) {
					t.Fatalf("next at %d: %v, with %v", now, ok, want)
				}
				if ok {
					if want[got.Value] != earliest {
						t.Fatalf("next at %d: timer %d of %v", now, got.Value, want)
					}
					delete(want, got.Value)
				}
			},
			"": func(t *rapid.T) {
				if q.Len() != len(want) {
					t.Fatalf("%d timers, want %v", q.Len(), want)
				}
			},
		})
	})
}
