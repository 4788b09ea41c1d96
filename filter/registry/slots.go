package registry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Join gives the worker a slot under a new incarnation, unless it holds one, and a queue on which others reach it. It
// is called before the first claim: only a plugin context that sees a stream is a worker. now is in Unix milliseconds.
func (w *Worker) Join(now int64) error {
	w.now = now
	return w.join()
}

// Open reads what all workers agree on, or is the first to write it. It is a part of Join, and enough for Dismiss,
// Workers and Rules.
func (w *Worker) Open() error {
	if w.table != (Table{}) {
		return nil
	}
	table, err := loadTable(w.store, w.random)
	if err != nil {
		return err
	}
	w.table = table
	return nil
}

func (w *Worker) join() error {
	if w.owner.Incarnation != 0 {
		return nil
	}
	if err := w.Open(); err != nil {
		return err
	}
	owner := policy.Owner{Incarnation: w.random() | 1} // never 0
	if err := w.takeSlot(&owner); err != nil {
		return err
	}
	// Only the slot's owner may register its queue: registering moves the wake-ups. What an earlier owner left in it
	// is discarded as it is read, for it names an earlier incarnation.
	queue, err := w.queues.Register(queueName(owner.Slot))
	if err != nil {
		err = fmt.Errorf("register queue %s: %w", queueName(owner.Slot), err)
		return errors.Join(err, w.leaveSlot(owner))
	}
	w.owner, w.queue = owner, queue
	// Streams from an earlier incarnation are put back by the tick, under their old claim numbers.
	for _, s := range w.streams {
		if s.state == Registered || s.state == Missing {
			s.state = Returning
			w.unfinished = append(w.unfinished, s)
		}
	}
	err = w.beat(w.registered)
	if errors.Is(err, errSwept) { // it took this worker very long to get here
		w.owner, w.queue = policy.Owner{}, 0
	}
	return err
}

// takeSlot puts the incarnation of owner into the first free slot, by compare-and-swap. Slots are taken from the
// lowest, so the first key that is absent is behind all that were ever used.
func (w *Worker) takeSlot(owner *policy.Owner) error {
	record := Record{Incarnation: owner.Incarnation}
	for slot := range uint16(MaxWorkers) {
		for range casAttempts {
			held, cas, err := w.readSlot(slot)
			if err != nil {
				return err
			}
			if held.Incarnation != 0 {
				break
			}
			err = w.store.Set(slotKey(slot), record.Append(nil), cas)
			if err == nil {
				owner.Slot = slot
				return nil
			}
			if !errors.Is(err, ErrCasMismatch) {
				return fmt.Errorf("write %s: %w", slotKey(slot), err)
			}
		}
	}
	return ErrFull
}

// leaveSlot frees a slot that was taken in vain: without a heartbeat it would wait to be swept, and so would the one
// of the next try.
func (w *Worker) leaveSlot(owner policy.Owner) error {
	held, cas, err := w.readSlot(owner.Slot)
	if err != nil || held.Incarnation != owner.Incarnation {
		return err
	}
	if err := w.store.Set(slotKey(owner.Slot), Record{}.Append(nil), cas); err != nil {
		return fmt.Errorf("write %s: %w", slotKey(owner.Slot), err)
	}
	return nil
}

// readSlot returns the record of a slot and remembers it. One that is absent or malformed reads as free.
func (w *Worker) readSlot(slot uint16) (Record, uint32, error) {
	value, cas, err := w.store.Get(slotKey(slot))
	if errors.Is(err, ErrNotFound) {
		return Record{}, Absent, nil
	}
	if err != nil {
		return Record{}, 0, fmt.Errorf("read %s: %w", slotKey(slot), err)
	}
	record, err := ParseRecord(value)
	if err != nil {
		w.count(Malformed, 1)
		record = Record{}
	}
	if more := int(slot) + 1 - len(w.peers); more > 0 {
		w.peers = append(w.peers, make([]peer, more)...)
	}
	p := &w.peers[slot]
	if p.record.Incarnation != record.Incarnation || p.record.Heartbeat != record.Heartbeat {
		p.looks = 0
	}
	p.record = record
	return record, cas, nil
}

// errSwept says that the worker's slot is not its own any more.
var errSwept = errors.New("slot is held by another")

// beat moves the heartbeat in the worker's slot on, and says there that it has so many streams.
func (w *Worker) beat(streams int) error {
	for range casAttempts {
		record, cas, err := w.readSlot(w.owner.Slot)
		if err != nil {
			return err
		}
		if record.Incarnation != w.owner.Incarnation {
			return errSwept
		}
		record.Queue, record.Live, record.BeatAt = w.queue, uint32(streams), w.now
		record.Heartbeat++
		err = w.store.Set(slotKey(w.owner.Slot), record.Append(nil), cas)
		if err == nil {
			w.peers[w.owner.Slot].record = record
			return nil
		}
		if !errors.Is(err, ErrCasMismatch) {
			return fmt.Errorf("write %s: %w", slotKey(w.owner.Slot), err)
		}
	}
	return fmt.Errorf("write %s: %w", slotKey(w.owner.Slot), ErrContended)
}

// holds reports whether owner holds its slot. A yes may be as old as the last tick, which costs a claim at most a
// message that nobody reads; a no is fresh, and final, for incarnations do not come back.
func (w *Worker) holds(owner policy.Owner) (Record, bool) {
	if int(owner.Slot) < len(w.peers) {
		if r := w.peers[owner.Slot].record; r.Incarnation == owner.Incarnation && r.Queue != 0 {
			return r, true
		}
	}
	record, _, err := w.readSlot(owner.Slot)
	if err != nil { // unknown: leave it be
		return Record{}, true
	}
	return record, record.Incarnation == owner.Incarnation
}

// withoutOrphans returns streams without those whose owner does not hold its slot, and how many those were. It is
// called between the read of the bucket and its write.
func (w *Worker) withoutOrphans(streams []policy.Stream) ([]policy.Stream, int) {
	n := len(streams)
	streams = slices.DeleteFunc(streams, func(s policy.Stream) bool {
		_, held := w.holds(s.Owner)
		return !held
	})
	return streams, n - len(streams)
}

// watch looks at the slots, at so many a tick and round and round, and takes one from a worker whose heartbeat has stood still over missedTicks of this
// worker's own ticks: no clocks are compared, so a suspended machine does not make workers sweep each other.
func (w *Worker) watch(t *Ticked) error {
	for range watchPerTick {
		slot := w.watched
		record, cas, err := w.readSlot(slot)
		if err != nil {
			return err
		}
		if cas == Absent { // behind the last
			w.watched = 0
			return nil
		}
		w.watched = (slot + 1) % MaxWorkers
		if record.Incarnation == 0 || slot == w.owner.Slot {
			continue
		}
		p := &w.peers[slot]
		if p.looks++; p.looks <= missedTicks {
			continue
		}
		switch err := w.store.Set(slotKey(slot), Record{}.Append(nil), cas); {
		case err == nil:
			p.record, p.looks = Record{}, 0
			t.Deaths++
		case !errors.Is(err, ErrCasMismatch): // a mismatch: it lives, or another was faster
			return fmt.Errorf("write %s: %w", slotKey(slot), err)
		}
	}
	return nil
}

// Slot is a worker as others see it.
type Slot struct {
	Number uint16
	Record
}

// Workers returns the slots that are held now.
func (w *Worker) Workers() (held []Slot, err error) {
	for slot := range uint16(MaxWorkers) {
		record, cas, err := w.readSlot(slot)
		if err != nil || cas == Absent {
			return held, err
		}
		if record.Incarnation != 0 {
			held = append(held, Slot{slot, record})
		}
	}
	return held, nil
}
