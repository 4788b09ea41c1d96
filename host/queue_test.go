package host

import (
	"slices"
	"testing"
)

func anyWakeup(Wakeup) bool { return true }

func TestQueueIsFirstInFirstOut(t *testing.T) {
	q := newSharedQueues()
	token := q.register("vm", "jobs", nil, 0, 1)
	if _, status := q.dequeue(token); status != StatusEmpty {
		t.Errorf("empty queue: got %v, want %v", status, StatusEmpty)
	}
	item := []byte("one")
	q.enqueue(token, item)
	item[0] = 'X'
	q.enqueue(token, []byte("two"))
	for _, want := range []string{"one", "two"} {
		if got, status := q.dequeue(token); status != StatusOk || string(got) != want {
			t.Errorf("dequeue: got %q, %v, want %q, %v", got, status, want, StatusOk)
		}
	}
	if _, status := q.dequeue(token); status != StatusEmpty {
		t.Errorf("emptied queue: got %v, want %v", status, StatusEmpty)
	}
}

func TestQueueThatNobodyRegistered(t *testing.T) {
	q := newSharedQueues()
	if _, status := q.resolve("vm", "jobs"); status != StatusNotFound {
		t.Errorf("resolve: got %v, want %v", status, StatusNotFound)
	}
	if status := q.enqueue(1, nil); status != StatusNotFound {
		t.Errorf("enqueue: got %v, want %v", status, StatusNotFound)
	}
	if _, status := q.dequeue(1); status != StatusNotFound {
		t.Errorf("dequeue: got %v, want %v", status, StatusNotFound)
	}
}

func TestQueueNamesBelongToAVMID(t *testing.T) {
	q := newSharedQueues()
	token := q.register("vm", "jobs", nil, 0, 1)
	other := q.register("other", "jobs", nil, 0, 1)
	if token == other || token == 0 {
		t.Errorf("got the tokens %d and %d for two queues, want two different ones, not 0", token, other)
	}
	if got, status := q.resolve("vm", "jobs"); got != token || status != StatusOk {
		t.Errorf("resolve: got %d, %v, want %d", got, status, token)
	}
}

// A second registration keeps the items, and takes over the wake-ups of items that come later. This
// is why each worker of a filter needs its own queue.
func TestQueueWakesTheLastRegistrant(t *testing.T) {
	q := newSharedQueues()
	token := q.register("vm", "jobs", nil, 0, 1)
	q.enqueue(token, []byte("for worker 0"))
	if again := q.register("vm", "jobs", nil, 1, 7); again != token {
		t.Errorf("second registration: got the token %d, want %d", again, token)
	}
	q.enqueue(token, []byte("for worker 1"))
	want := []Wakeup{{Worker: 0, ContextID: 1, Queue: token}, {Worker: 1, ContextID: 7, Queue: token}}
	if !slices.Equal(q.wakeups(), want) {
		t.Errorf("got the pending wake-ups %+v, want %+v", q.wakeups(), want)
	}
	if got, _ := q.dequeue(token); string(got) != "for worker 0" {
		t.Errorf("got the first item %q, want for worker 0", got)
	}
}

func TestTakeWakeupTakesTheOldestThatIsWanted(t *testing.T) {
	q := newSharedQueues()
	a, b := q.register("vm", "a", nil, 0, 1), q.register("vm", "b", nil, 1, 1)
	q.enqueue(a, nil)
	q.enqueue(b, nil)
	q.enqueue(a, nil)
	if w, ok := q.takeWakeup(func(w Wakeup) bool { return w.Worker == 1 }); !ok || w.Queue != b {
		t.Errorf("takeWakeup for worker 1: got %+v, %v, want that of queue %d", w, ok, b)
	}
	for range 2 {
		if w, ok := q.takeWakeup(anyWakeup); !ok || w.Queue != a {
			t.Errorf("takeWakeup: got %+v, %v, want one of queue %d", w, ok, a)
		}
	}
	if w, ok := q.takeWakeup(anyWakeup); ok {
		t.Errorf("takeWakeup without wake-ups: got %+v, want none", w)
	}
}
