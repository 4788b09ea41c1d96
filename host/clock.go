package host

import (
	"fmt"
	"time"
)

// maxWakeups bounds one Run: two guests that wake each other for ever would
// never let it end.
const maxWakeups = 100_000

// Now returns the time of the virtual clock.
func (w *World) Now() time.Time { return w.now }

// Advance moves the clock by d and fires what is due on the way, in the order of
// time; at one instant the main thread's before worker 0's and so on. It returns
// the number of ticks. Wake-ups stay pending: see Run.
//
// Threads that are busy, because Advance was called in an interceptor, are passed
// over; their timers fire late.
func (w *World) Advance(d time.Duration) (ticks int) {
	if d < 0 {
		panic(fmt.Sprintf("host: Advance(%s): time does not run backwards", d))
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

// Tick advances the clock to the next timer and fires all that are due then. It
// returns the number of ticks, 0 if no timer runs.
func (w *World) Tick() (ticks int) {
	_, timer, ok := w.nextTimer()
	if !ok {
		return 0
	}
	return w.Advance(max(0, timer.due.Sub(w.now)))
}

// SkipTime moves the clock by d and fires nothing: what is due then is late. With
// Worker.Tick it lets some workers stall while others live.
func (w *World) SkipTime(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("host: SkipTime(%s): time does not run backwards", d))
	}
	w.now = w.now.Add(d)
}

// nextTimer finds the earliest timer of a thread that is free.
func (w *World) nextTimer() (*Worker, timer, bool) {
	var (
		worker *Worker
		first  timer
	)
	for _, t := range w.threads() {
		if !t.idle() {
			continue
		}
		if armed := t.vm.timers.armed(); len(armed) > 0 && (worker == nil || armed[0].due.Before(first.due)) {
			worker, first = t, armed[0]
		}
	}
	return worker, first, worker != nil
}

// Run delivers pending wake-ups, the oldest first, and those that their delivery
// causes, until none is left. It returns how many it took; one whose listener is
// gone counts, and reaches nobody, as in Envoy. Wake-ups for threads that are
// busy stay pending. It stops after 100,000, which PendingWakeups then shows.
func (w *World) Run() (delivered int) {
	return w.deliver(func(Wakeup) bool { return true })
}

// PendingWakeups returns the wake-ups that are not delivered yet, oldest first.
func (w *World) PendingWakeups() []Wakeup {
	return append([]Wakeup(nil), w.queues.pending...)
}

// DropWakeups loses all pending wake-ups and returns how many. The items stay in
// their queues.
func (w *World) DropWakeups() int {
	n := len(w.queues.pending)
	w.queues.pending = nil
	return n
}

func (w *World) deliver(wanted func(Wakeup) bool) (delivered int) {
	for delivered < maxWakeups {
		wakeup, ok := w.queues.take(func(u Wakeup) bool { return wanted(u) && !w.Worker(u.Worker).busy() })
		if !ok {
			break
		}
		w.Worker(wakeup.Worker).wake(wakeup)
		delivered++
	}
	return delivered
}
