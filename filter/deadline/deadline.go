// Package deadline keeps many deadlines in a priority queue. A tick of a worker looks only at the
// deadlines that have passed, however many are scheduled.
package deadline

import "container/heap"

// Timer is a deadline of Value. The zero Timer is not scheduled. A Timer must not be copied, and
// belongs to at most one Queue, while it is scheduled.
type Timer[T any] struct {
	Value T

	at       int64
	position int // in the heap, counted from 1; 0: not scheduled
}

// Queue holds the scheduled timers. The zero Queue is empty and ready for use. It is not safe for
// concurrent use.
//
// All times are numbers of the same clock and unit, which the caller chooses.
type Queue[T any] struct{ timers timers[T] }

// Len returns the number of scheduled timers.
func (q *Queue[T]) Len() int { return len(q.timers) }

// Schedule sets the deadline of t to at. If t is scheduled already, its deadline moves. It takes
// O(log n) for n scheduled timers, as Cancel and Next do.
func (q *Queue[T]) Schedule(t *Timer[T], at int64) {
	t.at = at
	if t.position > 0 {
		heap.Fix(&q.timers, t.position-1)
		return
	}
	heap.Push(&q.timers, t)
}

// Cancel removes t from the queue. It does nothing if t is not scheduled.
func (q *Queue[T]) Cancel(t *Timer[T]) {
	if t.position > 0 {
		heap.Remove(&q.timers, t.position-1)
	}
}

// Next removes and returns the timer with the earliest deadline. It returns false if no deadline is
// at or before now.
func (q *Queue[T]) Next(now int64) (*Timer[T], bool) {
	if len(q.timers) == 0 || q.timers[0].at > now {
		return nil, false
	}
	return heap.Pop(&q.timers).(*Timer[T]), true
}

// timers implements heap.Interface; the earliest deadline is first.
type timers[T any] []*Timer[T]

func (h timers[T]) Len() int           { return len(h) }
func (h timers[T]) Less(i, j int) bool { return h[i].at < h[j].at }

func (h timers[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i+1, j+1
}

func (h *timers[T]) Push(x any) {
	t := x.(*Timer[T])
	*h = append(*h, t)
	t.position = len(*h)
}

func (h *timers[T]) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil // or the array would keep the timer alive
	*h = (*h)[:last]
	t.position = 0
	return t
}
