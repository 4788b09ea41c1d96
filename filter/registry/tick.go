package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Done is what a tick or a wake-up has found and done.
type Done struct {
	End      []*Stream // to be ended, see [Stream.Why]; or recalled; or their wait is over
	Claimed  []Late    // claims that were finished, if they were refused or superseded streams
	Released []*Stream // ended before; it was found that they had held their place to the end
	Deaths   int       // workers whose slots were taken
	Swept    int       // orphans that were removed
}

// room is how many more streams this call may name to be ended.
func (d *Done) room() int { return max(0, EndsPerCall-len(d.End)) }

// Late is the outcome of a claim that was finished later. The verdict is as from [Worker.Claim],
// except that a stream that was put back may itself be among those that yield.
type Late struct {
	*Stream
	policy.Verdict
}

// Tick does the worker's housekeeping. Call it about once a second. It does a bounded amount of
// work, however many streams the worker has; if there is more, the worker sends itself a message,
// and Wake goes on. An error says what could not be done this time; the next tick tries it again.
// now is in milliseconds.
func (w *Worker) Tick(now int64) (Done, error) {
	var d Done
	w.now = now
	w.peeked.forget()
	if w.table == (Table{}) {
		return d, nil
	}
	err := w.keepSlot()
	if w.owner.Incarnation == 0 {
		// Without a slot it can only watch. It must: if all slots are held by dead workers, this
		// one may be the only one that is left to free them.
		return d, errors.Join(err, w.watch(&d))
	}
	w.reminded = false
	w.toFinish, w.toConfirm = len(w.unfinished), len(w.suspects)
	w.toCheck = checksPerTick
	w.toVisit = max(w.toVisit, min(visitsPerTick, w.table.Buckets()))
	return d, errors.Join(err, w.keepRules(), w.collect(&d), w.watch(&d), w.proceed(&d))
}

// keepSlot moves the heartbeat on. A worker that has lost its slot joins again.
func (w *Worker) keepSlot() error {
	if w.owner.Incarnation != 0 {
		err := w.beat(w.total())
		if !errors.Is(err, errSwept) {
			return err
		}
		w.owner, w.queue = policy.Owner{}, 0
	}
	if err := w.join(); err != nil {
		return fmt.Errorf("join again: %w", err)
	}
	return nil
}

// collect reads the queue, in case a wake-up was lost. A message counts as late only if it is older
// than wakeupIsLateMs: the wake-up for a newer one may still come.
func (w *Worker) collect(d *Done) error {
	late, err := w.drain(d, w.now-wakeupIsLateMs)
	w.count(LostWakeup, late)
	if err == nil && !w.unread {
		err = w.hear()
	}
	if late > 0 && err == nil {
		// An earlier owner that lost this slot during its Join may have registered the
		// queue after this worker did. Then the wake-ups go there. Registering again brings
		// them back.
		_, err = w.queues.Register(queueName(w.owner.Slot))
	}
	return err
}

// proceed does what the last tick began, as much as one call may do, and asks for another call if
// there is more.
func (w *Worker) proceed(d *Done) error {
	failed := errors.Join(w.finish(d), w.confirm(d), w.check(d), w.visitNext(d))
	if w.toFinish > 0 || w.toConfirm > 0 || w.toCheck > 0 || w.toVisit > 0 || w.unread {
		failed = errors.Join(failed, w.Remind(w.now))
	}
	return failed
}

// finish tries again what was left to a tick. A stream that fails once more goes to the end of the
// list, so a bucket that stays contended does not hold up the others.
func (w *Worker) finish(d *Done) (first error) {
	n := min(w.toFinish, finishPerCall, d.room())
	w.toFinish -= n
	batch := slices.Clone(w.unfinished[:n])
	w.unfinished = slices.Delete(w.unfinished, 0, n)
	for _, s := range batch {
		if err := w.finishOne(s, d); err != nil {
			w.unfinished = append(w.unfinished, s)
			first = cmp.Or(first, err)
		}
	}
	return first
}

// finishOne does the work that s needs in its state. A stream in another state needs none: it has
// ended or was superseded since it came into the list.
func (w *Worker) finishOne(s *Stream, d *Done) error {
	switch s.state {
	case Releasing:
		removed, err := w.unregister(s)
		if err != nil {
			return err
		}
		s.state = Released
		if removed {
			d.Released = append(d.Released, s)
		}
	case Pending:
		verdict, err := w.register(s)
		if err != nil {
			return err
		}
		if verdict.Refusal != 0 {
			w.drop(s, ByRefusal)
		}
		d.settled(s, verdict)
	}
	return nil
}

// settled notes the outcome of a claim that was finished later.
func (d *Done) settled(s *Stream, verdict policy.Verdict) {
	if s.state == Out && s.Enforce {
		d.end(s)
	}
	if verdict.Refusal != 0 || len(verdict.Superseded) > 0 {
		d.Claimed = append(d.Claimed, Late{s, verdict})
	}
}
