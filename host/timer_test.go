package host

import (
	"testing"
	"time"
)

func TestTimers(t *testing.T) {
	t0 := time.Unix(0, 0)
	at := func(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }
	timers := newTimers()
	due := func(want ...int) {
		t.Helper()
		armed := timers.armed()
		if len(armed) != len(want) {
			t.Fatalf("got %d timers, want %d", len(armed), len(want))
		}
		for i, timer := range armed {
			if !timer.Due.Equal(at(want[i])) {
				t.Errorf("timer %d: got the due time %v, want %v", i, timer.Due, at(want[i]))
			}
		}
	}
	timers.set(1, 10*time.Second, at(0))
	timers.set(2, 3*time.Second, at(0))
	due(3, 10)
	timers.rearm(2, at(7)) // it fired late: the next period begins then, and missed ticks are not repeated
	due(10, 10)
	timers.set(1, 2*time.Second, at(8)) // a new period starts the timer anew
	due(10, 10)
	timers.set(1, 0, at(8))
	due(10)
	timers.rearm(1, at(9)) // on_tick has stopped the timer
	due(10)
}
