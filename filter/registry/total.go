package registry

// This file keeps the limit of [Worker.LimitTotal]. A counter in the store would have to be written
// by every claim. Instead a worker first writes into its own slot that it has one stream more, and
// then adds up all slots. Of two newcomers at the same moment at least one sees the other. There
// are never too many streams; both may be refused where one had room.
//
// A takeover adds no stream, so it does not look at the other slots. But it, too, reserves a place
// before it is written. Otherwise the superseded stream could be released before its successor is
// in any slot's count, and a third stream would find room that there is not.

// room is one claim's place under the limit.
type room struct {
	reserved, looked, full bool
	err                    error
}

// reserve adds one to the count in the worker's slot. It does not ask whether there is room.
func (r *room) reserve(w *Worker) {
	if !r.reserved && r.err == nil {
		r.reserved = true
		r.err = w.beat(w.registered + 1)
	}
}

// over reports whether there are too many streams, counting the one for which a place was reserved.
func (r *room) over(w *Worker) bool {
	if !r.looked && r.err == nil {
		r.looked = true
		var others int
		others, r.err = w.othersTotal()
		r.full = r.err == nil && others+w.registered+1 > w.maxTotal
	}
	return r.full
}

// giveBack takes the reserved place out of the count again.
func (r *room) giveBack(w *Worker) error {
	if !r.reserved {
		return nil
	}
	return w.beat(w.registered)
}

// othersTotal adds up the streams of all slots except the worker's own.
func (w *Worker) othersTotal() (n int, err error) {
	for slot := range uint16(MaxWorkers) {
		record, cas, err := w.readSlot(slot)
		if err != nil || cas == Absent {
			return n, err
		}
		if slot != w.owner.Slot || record.Incarnation != w.owner.Incarnation {
			n += int(record.Live)
		}
	}
	return n, nil
}

// publish writes the number of this worker's streams into its slot at once, if there is a limit. If
// the write fails, the next heartbeat repeats it; until then other workers count too many streams,
// and never too few.
func (w *Worker) publish() {
	if w.maxTotal > 0 && w.owner.Incarnation != 0 {
		_ = w.beat(w.registered)
	}
}
