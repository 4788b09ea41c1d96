package host

import (
	"slices"
	"time"
)

// timers are the timers of one VM, one for each plugin context that set a period. The caller says
// what time it is.
//
// Envoy: source/extensions/common/wasm/wasm.cc, setTimerPeriod and tickHandler.
type timers struct {
	byContext map[uint32]*Timer
}

// Timer is the timer of a plugin context, which calls on_tick.
type Timer struct {
	ContextID uint32
	Period    time.Duration
	Due       time.Time
}

func newTimers() *timers { return &timers{byContext: make(map[uint32]*Timer)} }

// set starts the timer of a context anew. A period of 0 stops it.
func (t *timers) set(contextID uint32, period time.Duration, now time.Time) {
	if period == 0 {
		delete(t.byContext, contextID)
		return
	}
	t.byContext[contextID] = &Timer{ContextID: contextID, Period: period, Due: now.Add(period)}
}

// rearm starts the next period, after on_tick has returned. So a late tick delays all later ones,
// and missed ticks are not repeated. It does nothing if on_tick stopped the timer.
func (t *timers) rearm(contextID uint32, now time.Time) {
	if timer, ok := t.byContext[contextID]; ok {
		timer.Due = now.Add(timer.Period)
	}
}

// armed returns the running timers, earliest first.
func (t *timers) armed() []Timer {
	out := make([]Timer, 0, len(t.byContext))
	for _, timer := range t.byContext {
		out = append(out, *timer)
	}
	slices.SortFunc(out, func(a, b Timer) int {
		if c := a.Due.Compare(b.Due); c != 0 {
			return c
		}
		return int(a.ContextID) - int(b.ContextID)
	})
	return out
}
