package registry

import "github.com/streamlatch/streamlatch/filter/policy"

// This file keeps the limit of [Worker.LimitTotal]. A counter in the store would have to be written
// by every claim. Instead a worker first writes into its own slot that it has one stream more, and
// then adds up all slots. Of two newcomers at the same moment at least one sees the other. There
// are never too many streams; both may be refused where one had room.
//
// A takeover adds no stream, so it does not look at the other slots. But it, too, reserves a place
// before it is written. Otherwise the superseded stream could be released before its successor is
// in any slot's count, and a third stream would find room that there is not.
//
// A stream that waits for a fleet's verdict has reserved its place all that time: it is expected.

// room is one claim's place under the limit.
type room struct {
	reserved, looked, full bool
	err                    error
}

// reserve adds s to the count in the worker's slot. It does not ask whether there is room.
func (r *room) reserve(w *Worker, s *Stream) {
	if !r.reserved && r.err == nil {
		r.reserved = true
		r.err = w.beat(w.totalWith(s))
	}
}

// over reports whether there are too many streams with s, for which a place was reserved.
func (r *room) over(w *Worker, s *Stream) bool {
	if !r.looked && r.err == nil {
		r.looked = true
		var others int
		others, r.err = w.othersTotal()
		r.full = r.err == nil && others+w.totalWith(s) > w.maxTotal
	}
	return r.full
}

// giveBack takes the reserved place out of the count again.
func (r *room) giveBack(w *Worker) error {
	if !r.reserved {
		return nil
	}
	return w.beat(w.total())
}

// othersTotal adds up the streams of all slots except the worker's own.
//
// A stream may pass from one worker to another, in a takeover, while this one reads first the slot
// of the new owner and then that of the old: it would be in neither. So it reads until no slot has
// changed since it was read before. All counts then were true at one moment.
func (w *Worker) othersTotal() (most int, err error) {
	const mostReads = 8
	for range mostReads {
		n, changed, err := w.addOthers()
		if err != nil {
			return 0, err
		}
		if !changed {
			return n, nil
		}
		most = max(most, n)
	}
	return most, nil
}

// addOthers also reports whether a slot has changed since it was read before.
func (w *Worker) addOthers() (n int, changed bool, err error) {
	for slot := range uint16(MaxWorkers) {
		var before Record
		if int(slot) < len(w.peers) {
			before = w.peers[slot].record
		}
		record, cas, err := w.readSlot(slot)
		if err != nil || cas == Absent {
			return n, changed, err
		}
		if slot == w.owner.Slot && record.Incarnation == w.owner.Incarnation {
			continue
		}
		n += int(record.Live)
		changed = changed || record.Incarnation != before.Incarnation || record.Heartbeat != before.Heartbeat
	}
	return n, changed, nil
}

// publish writes the number of this worker's streams into its slot at once, if there is a limit. If
// the write fails, the next heartbeat repeats it; until then other workers count too many streams,
// and never too few.
func (w *Worker) publish() {
	if w.maxTotal > 0 && w.owner.Incarnation != 0 {
		_ = w.beat(w.total())
	}
}

// total is how many streams of the worker count under the limit.
func (w *Worker) total() int { return w.registered + w.expected }

// totalWith also counts s, which is not registered.
func (w *Worker) totalWith(s *Stream) int {
	if s.expected {
		return w.total()
	}
	return w.total() + 1
}

// Expect reserves a place under the limit for s, about which a fleet decides: until [Worker.Place],
// [Worker.Claim] or [Worker.Forgo]. It reports false if there is no room: then nothing is reserved.
// The worker must have joined once. now is in milliseconds.
func (w *Worker) Expect(now int64, s *Stream) (bool, error) {
	if w.maxTotal == 0 {
		return true, nil
	}
	if !s.expected {
		s.expected = true
		w.expected++
		w.publish()
	}
	verdict, err := w.Peek(now, s)
	if verdict.Refusal != policy.Overloaded {
		return true, err
	}
	w.Forgo(s)
	return false, err
}

// Forgo gives back what Expect has reserved.
func (w *Worker) Forgo(s *Stream) {
	if s.expected {
		w.unexpect(s)
		w.publish()
	}
}

// unexpect is for a stream that is registered now, or gives its place back.
func (w *Worker) unexpect(s *Stream) {
	if s.expected {
		s.expected = false
		w.expected--
	}
}
