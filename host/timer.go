package host

import (
	"slices"
	"time"
)

// timers are the tick timers of one VM, one for each plugin context. They know
// no clock: the caller says what time it is.
//
// Envoy: source/extensions/common/wasm/wasm.cc, setTimerPeriod and tickHandler.
type timers struct {
	byContext map[uint32]*timer
}

type timer struct {
	contextID uint32
	period    time.Duration
	due       time.Time
}

func newTimers() *timers { return &timers{byContext: make(map[uint32]*timer)} }

// set starts the timer of a context anew; a period of 0 stops it.
func (t *timers) set(contextID uint32, period time.Duration, now time.Time) {
	if period == 0 {
		delete(t.byContext, contextID)
		return
	}
	t.byContext[contextID] = &timer{contextID: contextID, period: period, due: now.Add(period)}
}

// rearm starts the next period after on_tick returned. So a late tick moves all
// later ones, and ticks that were missed are not made up for. A timer that
// on_tick itself stopped stays stopped.
func (t *timers) rearm(contextID uint32, now time.Time) {
	if timer, ok := t.byContext[contextID]; ok {
		timer.due = now.Add(timer.period)
	}
}

// armed returns the running timers, the earliest first.
func (t *timers) armed() []timer {
	out := make([]timer, 0, len(t.byContext))
	for _, timer := range t.byContext {
		out = append(out, *timer)
	}
	slices.SortFunc(out, func(a, b timer) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		return int(a.contextID) - int(b.contextID)
	})
	return out
}
