// Package deadline keeps many deadlines. Setting, moving and cancelling one takes the same short
// time however many there are: a busy stream with an idle timeout moves its deadline again and
// again, and a worker may have a hundred thousand of them.
//
// The deadlines lie in slots of some milliseconds. [Queue.Advance] looks at the slots that have
// passed, and [Queue.Next] hands out what was due in them.
package deadline

import "iter"

// slotBits is the length of a slot, as a power of two: 64 of the caller's units.
const slotBits = 6

// Timer is a deadline of Value. The zero Timer is not scheduled. A Timer must not be copied, and
// belongs to at most one Queue, while it is scheduled.
type Timer[T any] struct {
	Value T

	at         int64
	list       *list[T] // that it is in; nil: not scheduled
	prev, next *Timer[T]
}

// Queue holds the scheduled timers. The zero Queue is empty and ready for use. It is not safe for
// concurrent use.
//
// All times are numbers of the same clock and unit, which the caller chooses.
type Queue[T any] struct {
	slots  map[int64]*list[T] // by deadline, those that are not empty
	from   int64              // the first slot that may hold timers
	due    list[T]
	length int
}

// Len returns the number of scheduled timers. A timer that is due counts until Next returns it.
func (q *Queue[T]) Len() int { return q.length }

// Due reports whether Next would return a timer.
func (q *Queue[T]) Due() bool { return q.due.first != nil }

// Schedule sets the deadline of t to at. If t is scheduled already, its deadline moves.
func (q *Queue[T]) Schedule(t *Timer[T], at int64) {
	q.Cancel(t)
	slot := at >> slotBits
	if len(q.slots) == 0 || slot < q.from {
		q.from = slot
	}
	l := q.slots[slot]
	if l == nil {
		if q.slots == nil {
			q.slots = map[int64]*list[T]{}
		}
		l = &list[T]{}
		q.slots[slot] = l
	}
	t.at = at
	l.append(t)
	q.length++
}

// Cancel removes t from the queue. It does nothing if t is not scheduled.
func (q *Queue[T]) Cancel(t *Timer[T]) {
	if t.list == nil {
		return
	}
	l := t.list
	l.remove(t)
	if slot := t.at >> slotBits; l.first == nil && q.slots[slot] == l {
		delete(q.slots, slot)
	}
	q.length--
}

// Advance makes every timer due whose deadline is at or before now. Its time depends on how many
// those are, and on how many slots have passed since the last call or are in use: on the
// smaller of the two.
func (q *Queue[T]) Advance(now int64) {
	last := now >> slotBits
	for slot, l := range q.passed(last) {
		for t := l.first; t != nil; {
			next := t.next
			if t.at <= now {
				l.remove(t)
				q.due.append(t)
			}
			t = next
		}
		if l.first == nil {
			delete(q.slots, slot)
		}
	}
	q.from = max(q.from, last)
}

// passed yields the slots up to last that are in use.
func (q *Queue[T]) passed(last int64) iter.Seq2[int64, *list[T]] {
	return func(yield func(int64, *list[T]) bool) {
		if last-q.from < int64(len(q.slots)) {
			for slot := q.from; slot <= last; slot++ {
				if l := q.slots[slot]; l != nil && !yield(slot, l) {
					return
				}
			}
			return
		}
		for slot, l := range q.slots { // time has jumped, or few timers are scheduled
			if slot <= last && !yield(slot, l) {
				return
			}
		}
	}
}

// Next removes and returns a timer that is due. It returns false if there is none.
func (q *Queue[T]) Next() (*Timer[T], bool) {
	t := q.due.first
	if t == nil {
		return nil, false
	}
	q.due.remove(t)
	q.length--
	return t, true
}

// list is a doubly linked list of timers.
type list[T any] struct{ first, last *Timer[T] }

func (l *list[T]) append(t *Timer[T]) {
	t.list, t.prev = l, l.last
	if l.last == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
}

func (l *list[T]) remove(t *Timer[T]) {
	if t.prev == nil {
		l.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		l.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.list, t.prev, t.next = nil, nil, nil
}
