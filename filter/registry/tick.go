package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Ticked is what a tick has found and done.
type Ticked struct {
	End      []*Stream // as from [Worker.Wake]
	Claimed  []Late    // claims that this tick finished, if they were refused or superseded streams
	Released []*Stream // ended before this tick; it found that they had held their place to the end
	Checked  []*Stream // looked up by this tick; over several ticks, all of the worker's streams
	Deaths   int       // workers whose slots this tick has taken
	Swept    int       // orphans removed by the scan
}

// room is how many more streams this tick may name to be ended.
func (t *Ticked) room() int { return max(0, EndsPerCall-len(t.End)) }

// Late is the outcome of a claim that a tick finished. The verdict is as from [Worker.Claim],
// except that a stream that was put back may itself be among those that yield.
type Late struct {
	*Stream
	policy.Verdict
}

// Tick does the worker's housekeeping. Call it about once a second. It does a bounded amount of
// work, however many streams the worker has. An error says what could not be done this time; the
// next tick tries it again. now is in milliseconds.
func (w *Worker) Tick(now int64) (Ticked, error) {
	var t Ticked
	w.now = now
	if w.table == (Table{}) {
		return t, nil
	}
	if err := w.keepSlot(); err != nil {
		return t, err
	}
	var errs []error
	for _, step := range []func(*Ticked) error{w.collect, w.finish, w.selfCheck, w.sweep} {
		if err := step(&t); err != nil {
			errs = append(errs, err)
		}
	}
	return t, errors.Join(errs...)
}

// keepSlot moves the heartbeat on. A worker that has lost its slot joins again.
func (w *Worker) keepSlot() error {
	if w.owner.Incarnation != 0 {
		err := w.beat(w.registered)
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
func (w *Worker) collect(t *Ticked) error {
	end, late, err := w.drain(w.now-wakeupIsLateMs, t.room())
	w.count(LostWakeup, late)
	t.End = append(t.End, end...)
	if late > 0 && err == nil {
		// An earlier owner that lost this slot during its Join may have registered the
		// queue after this worker did. Then the wake-ups go there. Registering again brings
		// them back.
		_, err = w.queues.Register(queueName(w.owner.Slot))
	}
	return err
}

// finish tries again what was left to a tick. A stream that fails once more goes to the end of the
// list, so a bucket that stays contended does not hold up the others.
func (w *Worker) finish(t *Ticked) (first error) {
	n := min(len(w.unfinished), finishPerTick, t.room())
	batch := slices.Clone(w.unfinished[:n])
	w.unfinished = slices.Delete(w.unfinished, 0, n)
	for _, s := range batch {
		if err := w.finishOne(s, t); err != nil {
			w.unfinished = append(w.unfinished, s)
			first = cmp.Or(first, err)
		}
	}
	return first
}

// finishOne does the work that s needs in its state. A stream in another state needs none: it has
// ended or was superseded since it came into the list.
func (w *Worker) finishOne(s *Stream, t *Ticked) error {
	switch s.state {
	case Releasing:
		removed, err := w.unregister(s)
		if err != nil {
			return err
		}
		s.state = Released
		if removed {
			t.Released = append(t.Released, s)
		}
	case Pending:
		verdict, err := w.register(s)
		if err != nil {
			return err
		}
		if verdict.Refusal != 0 {
			w.drop(s, ByRefusal)
		}
		t.settled(s, verdict)
	case Returning:
		verdict, err := w.putBack(s)
		if err != nil {
			return err
		}
		t.settled(s, verdict)
	}
	return nil
}

// settled notes the outcome of a claim that this tick finished.
func (t *Ticked) settled(s *Stream, verdict policy.Verdict) {
	if s.state == Out && s.Enforce {
		t.End = including(t.End, s)
	}
	if verdict.Refusal != 0 || len(verdict.Superseded) > 0 {
		t.Claimed = append(t.Claimed, Late{s, verdict})
	}
}

// selfCheck looks up some of the worker's streams and ends those that are not in the registry. It
// ends a stream at the second look only: another worker may be between its write and its message,
// which knows the reason. It reads its own slot after the buckets (slot last): if the slot was
// taken meanwhile, the streams may be missing for that reason alone, and the next ticks put them
// back.
func (w *Worker) selfCheck(t *Ticked) error {
	again := w.missing[:min(len(w.missing), t.room())]
	w.missing = slices.Clone(w.missing[len(again):])
	lost, failed := w.absent(again)
	for _, s := range again {
		if s.state == Missing {
			s.state = Registered // drop changes those that are lost, below
		}
	}
	var looked []*Stream
	for range min(len(w.streams), checkPerTick) {
		w.checked = (w.checked + 1) % len(w.streams)
		looked = append(looked, w.streams[w.checked])
	}
	t.Checked = looked
	found, err := w.absent(looked)
	failed = cmp.Or(failed, err)
	if len(lost)+len(found) > 0 {
		record, _, err := w.readSlot(w.owner.Slot)
		if err != nil || record.Incarnation != w.owner.Incarnation {
			return errors.Join(failed, err)
		}
	}
	for _, s := range lost {
		w.drop(s, ByLoss)
		w.count(LostWakeup, 1)
		if s.Enforce {
			t.End = including(t.End, s)
		}
	}
	for _, s := range found {
		if s.state == Registered {
			s.state = Missing
			w.missing = append(w.missing, s)
		}
	}
	return failed
}

// absent returns those of the streams that should be in the registry and are not. If a bucket
// cannot be read, it goes on with the others; failed is the first such error.
func (w *Worker) absent(streams []*Stream) (absent []*Stream, failed error) {
	for _, s := range streams {
		if s.state != Registered && s.state != Missing {
			continue
		}
		if _, _, err := w.look(bucketKey(w.table.bucket(s.Client))); err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		if !slices.ContainsFunc(w.bucket.client(s.Client).Streams, s.as.Is) {
			absent = append(absent, s)
		}
	}
	return absent, failed
}

// sweep looks for dead workers, and searches some buckets for orphans: a few in every tick, many
// after a death, until every bucket has been searched.
func (w *Worker) sweep(t *Ticked) error {
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

// clean removes the orphans of one bucket and returns how many they were.
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
