package host

import "bytes"

// Wakeup is one on_queue_ready that has not been delivered yet. Envoy posts one for every item that
// is enqueued, to the thread of the context that registered the queue.
type Wakeup struct {
	Worker    int    // the worker it was posted to, or MainThread
	ContextID uint32 // the plugin context that had registered last when the item was enqueued
	Queue     uint32
}

// posted is a wake-up on its way to a VM of this world.
type posted struct {
	Wakeup
	world *World
}

// sharedQueues are the shared queues of one process.
//
// cpp-host: src/shared_queue.cc.
type sharedQueues struct {
	tokens  map[queueName]uint32
	queues  map[uint32]*sharedQueue
	next    uint32
	pending []posted
}

type queueName struct{ vmID, name string }

type sharedQueue struct {
	name       queueName
	registrant posted // what an item posts
	items      [][]byte
}

func newSharedQueues() *sharedQueues {
	return &sharedQueues{tokens: make(map[queueName]uint32), queues: make(map[uint32]*sharedQueue), next: 1}
}

// register returns the token of a queue, and creates the queue if it does not exist. Items that are
// enqueued from now on wake this registrant, and no longer the one before.
func (q *sharedQueues) register(vmID, name string, world *World, worker int, contextID uint32) uint32 {
	key := queueName{vmID, name}
	token, ok := q.tokens[key]
	if !ok {
		token = q.next
		q.next++
		q.tokens[key] = token
		q.queues[token] = &sharedQueue{name: key}
	}
	q.queues[token].registrant = posted{Wakeup{Worker: worker, ContextID: contextID, Queue: token}, world}
	return token
}

// resolve returns the token of a queue that was registered.
func (q *sharedQueues) resolve(vmID, name string) (uint32, Status) {
	token, ok := q.tokens[queueName{vmID, name}]
	if !ok {
		return 0, StatusNotFound
	}
	return token, StatusOk
}

// enqueue appends a copy of item and posts a wake-up. Any caller that knows the token may do so. It
// is Ok even if the registrant is gone, because nothing checks that before the wake-up is
// delivered. The length of a queue is not limited.
func (q *sharedQueues) enqueue(token uint32, item []byte) Status {
	queue, ok := q.queues[token]
	if !ok {
		return StatusNotFound
	}
	queue.items = append(queue.items, bytes.Clone(item))
	q.pending = append(q.pending, queue.registrant)
	return StatusOk
}

// dequeue removes and returns the oldest item. Any VM may call it.
func (q *sharedQueues) dequeue(token uint32) ([]byte, Status) {
	queue, ok := q.queues[token]
	if !ok {
		return nil, StatusNotFound
	}
	if len(queue.items) == 0 {
		return nil, StatusEmpty
	}
	item := queue.items[0]
	queue.items = queue.items[1:]
	return item, StatusOk
}

// wakeups returns the pending wake-ups, oldest first.
func (q *sharedQueues) wakeups() (wakeups []Wakeup) {
	for _, p := range q.pending {
		wakeups = append(wakeups, p.Wakeup)
	}
	return wakeups
}

// takeWakeup removes and returns the oldest pending wake-up that satisfies wanted.
func (q *sharedQueues) takeWakeup(wanted func(Wakeup) bool) (posted, bool) {
	for i, w := range q.pending {
		if wanted(w.Wakeup) {
			q.pending = append(q.pending[:i:i], q.pending[i+1:]...)
			return w, true
		}
	}
	return posted{}, false
}
