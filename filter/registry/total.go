package registry

// The limit on all streams together is kept without a key that every worker would have to write: each one says in its
// own slot how many streams it has, before it looks at what the others say. Of two that come at the same time at least
// one sees the other, so that there are never too many; both may, and both refuse.
//
// A stream that takes the place of another looks at nobody, but says that it is there before it is written, too: the
// other may be released before its successor's worker has said so, and a third would come in.

// room is a place for one stream more, under the limit of [Worker.LimitTotal].
type room struct {
	reserved, looked, full bool
	err                    error
}

// reserve takes a place, whether there is one or not.
func (r *room) reserve(w *Worker) {
	if !r.reserved && r.err == nil {
		r.reserved = true
		r.err = w.beat(w.registered + 1)
	}
}

// over reports whether there are too many streams with the one for which a place was reserved.
func (r *room) over(w *Worker) bool {
	if !r.looked && r.err == nil {
		r.looked = true
		var others int
		others, r.err = w.othersTotal()
		r.full = r.err == nil && others+w.registered+1 > w.maxTotal
	}
	return r.full
}

// giveBack frees the place, if one was taken.
func (r *room) giveBack(w *Worker) error {
	if !r.reserved {
		return nil
	}
	return w.beat(w.registered)
}

// othersTotal adds up the streams of all slots but the worker's own.
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

// publish tells the others at once how many streams this worker has, if there is a limit that makes them want to know.
// If it fails, the next heartbeat makes up for it: until then there seem to be more than there are.
func (w *Worker) publish() {
	if w.maxTotal > 0 && w.owner.Incarnation != 0 {
		_ = w.beat(w.registered)
	}
}
