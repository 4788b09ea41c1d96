package host

import "bytes"

// Wakeup is one on_queue_ready on its way: Envoy posts one to the listener's
// thread for every item that is enqueued.
type Wakeup struct {
	Worker    int    // the thread it was posted to; MainThread for the main thread
	ContextID uint32 // the plugin context that registered last when the item was enqueued
	Queue     uint32
}

// sharedQueues are Envoy's shared queues for one process.
//
// cpp-host: src/shared_queue.cc.
type sharedQueues struct {
	tokens  map[queueName]uint32
	queues  map[uint32]*sharedQueue
	next    uint32
	pending []Wakeup
}

type queueName struct{ vmID, name string }

type sharedQueue struct {
	name      queueName
	worker    int
	contextID uint32
	items     [][]byte
}

func newSharedQueues() *sharedQueues {
	return &sharedQueues{tokens: make(map[queueName]uint32), queues: make(map[uint32]*sharedQueue), next: 1}
}

// register returns the token of a queue, the same one for the same name. The
// items stay; the wake-ups of items enqueued from now on go to this registrant.
func (q *sharedQueues) register(vmID, name string, worker int, contextID uint32) uint32 {
	key := queueName{vmID, name}
	token, ok := q.tokens[key]
	if !ok {
		token = q.next
		q.next++
		q.tokens[key] = token
		q.queues[token] = &sharedQueue{name: key}
	}
	queue := q.queues[token]
	queue.worker, queue.contextID = worker, contextID
	return token
}

// resolve returns the token of a queue that somebody registered.
func (q *sharedQueues) resolve(vmID, name string) (uint32, Status) {
	token, ok := q.tokens[queueName{vmID, name}]
	if !ok {
		return 0, StatusNotFound
	}
	return token, StatusOk
}

// enqueue appends a copy of item and posts a wake-up. Anybody who knows the
// number may call it. It is Ok even if no listener is left: nobody looks before
// the wake-up is delivered. There is no bound on the length.
func (q *sharedQueues) enqueue(token uint32, item []byte) Status {
	queue, ok := q.queues[token]
	if !ok {
		return StatusNotFound
	}
	queue.items = append(queue.items, bytes.Clone(item))
	q.pending = append(q.pending, Wakeup{Worker: queue.worker, ContextID: queue.contextID, Queue: token})
	return StatusOk
}

// dequeue takes the oldest item, for whichever VM asks.
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

// take removes and returns the oldest pending wake-up for which may holds.
func (q *sharedQueues) take(may func(Wakeup) bool) (Wakeup, bool) {
	for i, w := range q.pending {
		if may(w) {
			q.pending = append(q.pending[:i:i], q.pending[i+1:]...)
			return w, true
		}
	}
	return Wakeup{}, false
}
