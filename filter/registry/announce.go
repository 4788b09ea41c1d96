package registry

import (
	"errors"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// This file makes a lost message known. Before a worker takes places away from another worker's
// streams, it counts in that worker's slot the messages that will follow ([Record].Told). A worker
// compares the count with the messages that have come. If one is missing, because its sender
// crashed between the write and the message, or for whatever other reason, the worker looks all of
// its streams up at once, instead of a few in every tick.

// announceAttempts bounds the tries to write another worker's slot. If all fail, a lost message is
// found later.
const announceAttempts = 4

// announcement is what a write of a bucket has to do with one other worker.
type announcement struct {
	to      policy.Owner
	wanted  uint32 // messages that follow if the write succeeds
	counted uint32 // how many of them its slot has been told of
	failed  bool   // the slot could not be written
}

// announce is called before a write that takes the places of streams away.
func (w *Worker) announce(streams []policy.Stream) {
	for _, s := range streams {
		if s.Owner == w.owner { // tell counts it when it sends it
			continue
		}
		i := slices.IndexFunc(w.announced, func(a announcement) bool { return a.to == s.Owner })
		if i < 0 {
			i = len(w.announced)
			w.announced = append(w.announced, announcement{to: s.Owner})
		}
		w.announced[i].wanted++
	}
	for i := range w.announced {
		a := &w.announced[i]
		if a.counted >= a.wanted || a.failed {
			continue
		}
		if a.failed = w.addTold(a.to, a.wanted-a.counted) != nil; !a.failed {
			a.counted = a.wanted
		}
	}
}

// retract forgets what was announced for a write that will be tried again, or has failed. What its
// next try does not announce again is taken back by retractRest.
func (w *Worker) retract() {
	for i := range w.announced {
		w.announced[i].wanted = 0
	}
}

// retractRest takes back what was announced too often.
func (w *Worker) retractRest() {
	for _, a := range w.announced {
		if a.counted > a.wanted {
			_ = w.addTold(a.to, a.wanted-a.counted) // if it stays counted, the worker looks for nothing
		}
	}
	w.announced = w.announced[:0]
}

// addTold adds n, which may be negative, to the messages that owner is to hear.
func (w *Worker) addTold(owner policy.Owner, n uint32) error {
	for range announceAttempts {
		record, cas, err := w.readSlot(owner.Slot)
		if err != nil {
			return err
		}
		if record.Incarnation != owner.Incarnation {
			return errSwept
		}
		record.Told += n
		if err = w.store.Set(slotKey(owner.Slot), record.Append(nil), cas); !errors.Is(err, ErrCasMismatch) {
			return err
		}
	}
	return ErrContended
}

// hear compares the messages that have come with those that were announced. If some are missing, it
// makes the worker visit every bucket. It is called when the queue is empty.
func (w *Worker) hear() error {
	record, _, err := w.readSlot(w.owner.Slot)
	if err != nil || record.Incarnation != w.owner.Incarnation {
		return err
	}
	if int32(record.Told-w.heard) > 0 {
		w.visitAll()
	}
	w.heard = record.Told
	return nil
}
