package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Ticked is what a tick found.
type Ticked struct {
	Superseded []*Stream  // their message's wake-up was lost, or they came back to find newer ones: reset them
	Lost       []*Stream  // no longer in the registry, and nobody said so: reset them
	Takeovers  []Takeover // by claims that had to be left to this tick
	Deaths     int        // workers found dead
	Swept      int        // streams removed whose worker is dead
}

// room is how many more streams this tick may end.
func (t *Ticked) room() int { return max(0, endsPerCall-len(t.Superseded)-len(t.Lost)) }

// Takeover is what a late claim did: the streams that yield, as from [Worker.Claim], which may have to be the claim's
// own if newer ones came first.
type Takeover struct {
	By       *Stream
	Yielding []policy.Stream
}

// Tick does the worker's housekeeping. It is called once a second or so, and does a bounded amount of work however
// many streams the worker holds. An error says what could not be done this time; the next tick does it.
func (w *Worker) Tick(now int64) (Ticked, error) {
	var t Ticked
	if w.table == (Table{}) {
		return t, nil
	}
	if err := w.keepSlot(); err != nil {
		return t, err
	}
	var errs []error
	for _, step := range []func(int64, *Ticked) error{w.collect, w.finish, w.selfCheck, w.sweep} {
		if err := step(now, &t); err != nil {
			errs = append(errs, err)
		}
	}
	return t, errors.Join(errs...)
}

// keepSlot moves the heartbeat on. A worker that was declared dead joins anew.
func (w *Worker) keepSlot() error {
	if w.owner.Incarnation != 0 {
		err := w.beat()
		if !errors.Is(err, errSwept) {
			return err
		}
		w.owner, w.queue = policy.Owner{}, 0
	}
	if err := w.Join(); err != nil {
		return fmt.Errorf("join again: %w", err)
	}
	return nil
}

// collect reads the queue, in case a wake-up was lost. A message that has only just been sent does not count as lost.
func (w *Worker) collect(now int64, t *Ticked) error {
	end, late, err := w.drain(now-wakeupIsLateMs, t.room())
	w.count(LostWakeup, late)
	t.Superseded = append(t.Superseded, end...)
	if late > 0 && err == nil {
		// A worker that lost this slot in the middle of its Join, a very long one, has the wake-ups: have them back.
		_, err = w.queues.Register(queueName(w.owner.Slot))
	}
	return err
}

// finish takes up claims and releases that were left to a tick. One that fails again goes to the end of the line: a
// bucket that stays contended does not hold up the others.
func (w *Worker) finish(now int64, t *Ticked) (first error) {
	n := min(len(w.unfinished), finishPerTick, t.room())
	batch := slices.Clone(w.unfinished[:n])
	w.unfinished = slices.Delete(w.unfinished, 0, n)
	for _, s := range batch {
		var err error
		switch {
		case s.state == released:
			_, err = w.unregister(s)
		case s.state == live && s.as.Owner != w.owner:
			var verdict policy.Verdict
			verdict, err = w.register(now, s)
			if err == nil && s.state == superseded && s.Enforce {
				t.Superseded = append(t.Superseded, s)
			}
			if len(verdict.Superseded) > 0 {
				t.Takeovers = append(t.Takeovers, Takeover{s, verdict.Superseded})
			}
		}
		if err != nil {
			w.unfinished = append(w.unfinished, s)
			first = cmp.Or(first, err)
			continue
		}
		s.queued = false
	}
	return first
}

// selfCheck looks some of the worker's streams up and ends those that are not in the registry. The slot is looked at
// after the buckets: if it was taken meanwhile, the streams may be gone for that reason only, and are put back by the
// next tick.
func (w *Worker) selfCheck(now int64, t *Ticked) error {
	var missing []*Stream
	var failed error
	for range min(len(w.streams), checkPerTick) {
		w.checked = (w.checked + 1) % len(w.streams)
		s := w.streams[w.checked]
		if s.state != live || s.queued {
			continue
		}
		if _, _, failed = w.look(bucketKey(w.table.bucket(s.Client))); failed != nil {
			break
		}
		at, found := w.bucket.find(s.Client)
		if !found || !slices.ContainsFunc(w.bucket.Entries[at].Streams, s.as.Is) {
			missing = append(missing, s)
		}
	}
	if len(missing) == 0 {
		return failed
	}
	record, _, err := w.readSlot(w.owner.Slot)
	if err != nil || record.Incarnation != w.owner.Incarnation {
		return errors.Join(failed, err)
	}
	for _, s := range missing[:min(len(missing), t.room())] {
		s.state = superseded
		w.count(LostWakeup, 1)
		if s.Enforce {
			t.Lost = append(t.Lost, s)
		}
	}
	return failed
}

// sweep looks for dead workers and scans a part of the table for streams whose worker does not hold its slot: a small
// part at all times, a large one after a death until the whole table has been seen.
func (w *Worker) sweep(now int64, t *Ticked) error {
	err := w.watch(t)
	if t.Deaths > 0 {
		w.toSweep = w.table.Buckets()
	}
	if err != nil {
		return err
	}
	n := min(w.table.Buckets(), scanPerTick)
	if w.toSweep > 0 {
		n = min(w.toSweep, sweepPerTick)
	}
	for range n {
		w.scanned = (w.scanned + 1) % w.table.Buckets()
		w.toSweep -= min(w.toSweep, 1)
		swept, err := w.clean(w.scanned)
		t.Swept += swept
		if err != nil {
			return err
		}
	}
	return nil
}

// clean removes the orphans of one bucket, and returns how many.
func (w *Worker) clean(n uint32) (swept int, err error) {
	type change struct {
		rule    RuleID
		orphans int
	}
	var changes []change
	err = w.update(n, func(b *Bucket) bool {
		changes = changes[:0]
		for i := range b.Entries {
			e := &b.Entries[i]
			var orphans int
			if e.Streams, orphans = w.withoutOrphans(e.Streams); orphans > 0 {
				changes = append(changes, change{e.Rule, orphans})
			}
		}
		b.Entries = slices.DeleteFunc(b.Entries, func(e Entry) bool { return len(e.Streams) == 0 })
		return len(changes) > 0
	})
	if err != nil {
		return 0, err
	}
	for _, c := range changes {
		w.count(Swept, c.orphans)
		w.meter.Active(c.rule, -c.orphans)
		swept += c.orphans
	}
	return swept, nil
}
