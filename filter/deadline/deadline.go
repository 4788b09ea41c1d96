// Package deadline keeps many deadlines and knows which come first, so that a tick looks at those that are due and at
// no others.
package deadline

import "container/heap"

// Timer is one deadline of something. Its zero value is not scheduled.
type Timer[T any] struct {
	Value T // whose deadline it is

	at    int64
	place int // in the queue, counted from 1; 0: not scheduled
}

// Queue holds timers that are scheduled. The zero value is ready for use; it is for one goroutine.
type Queue[T any] struct{ timers timers[T] }

// Len returns the number of timers that are scheduled.
func (q *Queue[T]) Len() int { return len(q.timers) }

// Schedule makes t due at a time, whether it was scheduled before or not.
func (q *Queue[T]) Schedule(t *Timer[T], at int64) {
	t.at = at
	if t.place > 0 {
		heap.Fix(&q.timers, t.place-1)
		return
	}
	heap.Push(&q.timers, t)
}

// Cancel takes t out of the queue, if it is there.
func (q *Queue[T]) Cancel(t *Timer[T]) {
	if t.place > 0 {
		heap.Remove(&q.timers, t.place-1)
	}
}

// Next takes out the timer that was due first, and returns false if none is due at the time of now.
func (q *Queue[T]) Next(now int64) (*Timer[T], bool) {
	if len(q.timers) == 0 || q.timers[0].at > now {
		return nil, false
	}
	return heap.Pop(&q.timers).(*Timer[T]), true
}

// timers is a heap of container/heap, the earliest first.
type timers[T any] []*Timer[T]

func (h timers[T]) Len() int           { return len(h) }
func (h timers[T]) Less(i, j int) bool { return h[i].at < h[j].at }

func (h timers[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

func (h *timers[T]) Push(x any) {
	t := x.(*Timer[T])
	*h = append(*h, t)
	t.place = len(*h)
}

func (h *timers[T]) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.place = 0
	return t
}
