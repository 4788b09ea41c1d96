package host

import (
	"fmt"
	"time"
)

// maxWakeups limits one Run, which would never end if two guests woke each other forever.
const maxWakeups = 100_000

// Now returns the time of the virtual clock.
func (w *World) Now() time.Time { return w.now }

// Advance moves the clock by d. On the way it calls on_tick for every timer that is due, in the
// order of time, and at the same time first on the main thread, then on worker 0, and so on. It
// returns the number of ticks. It does not deliver wake-ups: see [World.Run].
//
// Advance may be called in an interceptor. It skips threads that are busy then, and their timers
// fire late.
func (w *World) Advance(d time.Duration) (ticks int) {
	if d < 0 {
		panic(fmt.Sprintf("host: Advance(%s): want 0 or more", d))
	}
	target := w.now.Add(d)
	for {
		worker, timer, ok := w.nextTimer()
		if !ok || timer.due.After(target) {
			break
		}
		if timer.due.After(w.now) {
			w.now = timer.due
		}
		worker.tick(timer.contextID)
		ticks++
	}
	if target.After(w.now) {
		w.now = target
	}
	return ticks
}

// Tick advances the clock to the next timer and calls on_tick for all timers that are due then. It
// returns the number of ticks, which is 0 if no timer runs.
func (w *World) Tick() (ticks int) {
	_, timer, ok := w.nextTimer()
	if !ok {
		return 0
	}
	return w.Advance(max(0, timer.due.Sub(w.now)))
}

// SkipTime moves the clock by d without calling on_tick, so timers that become due are late.
// Together with [Worker.Tick] it makes some workers stall while others go on.
func (w *World) SkipTime(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("host: SkipTime(%s): want 0 or more", d))
	}
	w.now = w.now.Add(d)
}

// SetWallClock sets the real time forward or back by d, as an operator or NTP does. Timers, and the
// monotonic clock, do not notice.
func (w *World) SetWallClock(d time.Duration) { w.wallClock += d }

// realTime is what the guest's real-time clock shows.
func (w *World) realTime() time.Time { return w.now.Add(w.wallClock) }

// nextTimer returns the earliest timer of all threads that are ready.
func (w *World) nextTimer() (*Worker, timer, bool) {
	var (
		worker *Worker
		first  timer
	)
	for _, t := range w.threads() {
		if !t.ready() {
			continue
		}
		if armed := t.vm.timers.armed(); len(armed) > 0 && (worker == nil || armed[0].due.Before(first.due)) {
			worker, first = t, armed[0]
		}
	}
	return worker, first, worker != nil
}

// Run delivers the pending wake-ups, oldest first, and the wake-ups that they cause, until none is
// left. It returns how many it took. That includes wake-ups that reach no guest because their
// context is gone, as in Envoy. Wake-ups for busy threads stay pending. Run stops after 100,000
// wake-ups; [World.PendingWakeups] then shows the rest.
func (w *World) Run() (delivered int) {
	return w.deliver(func(Wakeup) bool { return true })
}

// PendingWakeups returns the wake-ups that are not delivered yet, oldest first.
func (w *World) PendingWakeups() []Wakeup {
	return append([]Wakeup(nil), w.queues.pending...)
}

// DropWakeups discards all pending wake-ups and returns how many there were. The items stay in
// their queues.
func (w *World) DropWakeups() int {
	n := len(w.queues.pending)
	w.queues.pending = nil
	return n
}

func (w *World) deliver(wanted func(Wakeup) bool) (delivered int) {
	for delivered < maxWakeups {
		wakeup, ok := w.queues.takeWakeup(func(u Wakeup) bool { return wanted(u) && !w.Worker(u.Worker).busy() })
		if !ok {
			break
		}
		w.Worker(wakeup.Worker).wake(wakeup)
		delivered++
	}
	return delivered
}
