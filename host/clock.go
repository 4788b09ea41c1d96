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
// order of time, and at the same time first on the main thread, then on worker 0, and so on.
// Callouts that time out on the way do so after the ticks of the same time. It returns the number
// of ticks. It does not deliver wake-ups: see [World.Run].
//
// Advance may be called in an interceptor. It skips threads that are busy then, and their timers
// fire late.
func (w *World) Advance(d time.Duration) (ticks int) {
	if d < 0 {
		panic(fmt.Sprintf("host: Advance(%s): want 0 or more", d))
	}
	target := w.now.Add(d)
	for {
		worker, timer, ticking := w.nextTimer()
		timeout, expire := w.network.nextTimeout()
		ticking = ticking && !timer.Due.After(target) && (expire == nil || !timer.Due.After(timeout))
		switch {
		case ticking:
			w.now = latest(w.now, timer.Due)
			worker.tick(timer.ContextID)
			ticks++
		case expire != nil && !timeout.After(target):
			w.now = latest(w.now, timeout)
			expire()
		default:
			w.now = latest(w.now, target)
			return ticks
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Tick advances the clock to the next timer and calls on_tick for all timers that are due then. It
// returns the number of ticks, which is 0 if no timer runs.
func (w *World) Tick() (ticks int) {
	_, timer, ok := w.nextTimer()
	if !ok {
		return 0
	}
	return w.Advance(max(0, timer.Due.Sub(w.now)))
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
func (w *World) nextTimer() (*Worker, Timer, bool) {
	var (
		worker *Worker
		first  Timer
	)
	for _, t := range w.allThreads() {
		if !t.ready() {
			continue
		}
		if armed := t.vm.timers.armed(); len(armed) > 0 && (worker == nil || armed[0].Due.Before(first.Due)) {
			worker, first = t, armed[0]
		}
	}
	return worker, first, worker != nil
}

// Run delivers the pending wake-ups, oldest first, and lets the handlers of [Config.Clusters]
// answer callouts, until nothing is left of both, nor of what they cause. It returns how many it
// took. That includes wake-ups that reach no guest because their context is gone, as in Envoy. What
// is for busy threads stays pending. Run stops after 100,000 of them; [World.PendingWakeups] then
// shows the rest.
func (w *World) Run() (delivered int) {
	return w.deliver(func(int) bool { return true })
}

// PendingWakeups returns the wake-ups that are not delivered yet, oldest first.
func (w *World) PendingWakeups() []Wakeup {
	return w.queues.wakeups()
}

// DropWakeups discards all pending wake-ups and returns how many there were. The items stay in
// their queues.
func (w *World) DropWakeups() int {
	n := len(w.queues.pending)
	w.queues.pending = nil
	return n
}

// deliver is Run for the threads that are wanted.
func (w *World) deliver(wanted func(thread int) bool) (delivered int) {
	ready := func(u Wakeup) bool { return wanted(u.Worker) && !w.Worker(u.Worker).busy() }
	for delivered < maxWakeups {
		if wakeup, ok := w.queues.takeWakeup(ready); ok {
			wakeup.world.Worker(wakeup.Worker).wake(wakeup.Wakeup)
		} else if !w.network.serve(wanted) {
			break
		}
		delivered++
	}
	return delivered
}
