package deadline_test

import (
	"fmt"
	"math/rand/v2"
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
		due := map[int]bool{}        // those that Advance has made due
		anyTimer := func(t *rapid.T) int { return rapid.IntRange(0, len(timers)-1).Draw(t, "timer") }
		time := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(-1<<40, 1<<40))
		t.Repeat(map[string]func(*rapid.T){
			"schedule": func(t *rapid.T) {
				i, at := anyTimer(t), time.Draw(t, "at")
				q.Schedule(&timers[i], at)
				deadlines[i] = at
				delete(due, i)
			},
			"cancel": func(t *rapid.T) {
				i := anyTimer(t)
				q.Cancel(&timers[i])
				delete(deadlines, i)
				delete(due, i)
			},
			"advance": func(t *rapid.T) {
				now := time.Draw(t, "now")
				q.Advance(now)
				for i, at := range deadlines {
					if at <= now {
						due[i] = true
					}
				}
			},
			"next": func(t *rapid.T) {
				got, ok := q.Next()
				if want := len(due) > 0; ok != want {
					t.Fatalf("Next returned %v, want %v; due %v", ok, want, due)
				}
				if !ok {
					return
				}
				if !due[got.Value] {
					t.Fatalf("Next returned timer %d, which is not due; due %v", got.Value, due)
				}
				delete(due, got.Value)
				delete(deadlines, got.Value)
			},
			"": func(t *rapid.T) {
				if q.Len() != len(deadlines) || q.Due() != (len(due) > 0) {
					t.Fatalf("Len is %d, Due is %v; deadlines %v, due %v", q.Len(), q.Due(), deadlines, due)
				}
			},
		})
	})
}

// BenchmarkBusyStreams is a second of a worker whose streams all have an idle timeout of ten
// seconds and bytes all the time: every deadline that passes is set again. Run it with -bench Busy;
// the time for one timer should not depend on how many there are.
func BenchmarkBusyStreams(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("timers=%d", n), func(b *testing.B) {
			const timeout = 10_000
			var q deadline.Queue[int]
			timers := make([]deadline.Timer[int], n)
			for i := range timers {
				q.Schedule(&timers[i], rand.Int64N(timeout))
			}
			now, looked := int64(0), 0
			for b.Loop() {
				now += 1000
				q.Advance(now)
				for t, ok := q.Next(); ok; t, ok = q.Next() {
					q.Schedule(t, now+rand.Int64N(timeout))
					looked++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(1, looked)), "ns/timer")
		})
	}
}
