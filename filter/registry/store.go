package registry

import (
	"errors"
	"fmt"
)

// Store is a map that all workers share: Envoy's shared data.
type Store interface {
	// Get returns the value of key and the number of its last write, or [ErrNotFound]. The value is the caller's.
	Get(key string) (value []byte, cas uint32, err error)
	// Set writes value if cas is the number of the key's last write, or if the key is absent; else it returns
	// [ErrCasMismatch]. A cas of 0 would overwrite whatever is there and is never used here. value is not kept.
	Set(key string, value []byte, cas uint32) error
}

// Absent is the cas that creates a key only if it is absent: Envoy creates an absent key whatever the cas, and refuses
// a present one that has another. Envoy numbers its writes from 1 and comes past the largest number once in four
// billion of them; the key that is written then, and it alone, could be overwritten by a create, until it is written
// again. Only slots, the table and new buckets are created, each once.
const Absent uint32 = 1<<32 - 1

// Queues are the message queues through which one worker reaches another: Envoy's shared queues.
type Queues interface {
	// Register returns the token of the named queue and moves its wake-ups to the caller. What is in it stays.
	Register(name string) (token uint32, err error)
	// Enqueue adds a message. It succeeds whether or not anybody is left to read it. message is not kept.
	Enqueue(token uint32, message []byte) error
	// Dequeue takes the oldest message out, or returns [ErrEmpty].
	Dequeue(token uint32) ([]byte, error)
}

var (
	// ErrNotFound is returned by a Store for an absent key.
	ErrNotFound = errors.New("not found")
	// ErrCasMismatch is returned by a Store when another write came first.
	ErrCasMismatch = errors.New("cas mismatch")
	// ErrEmpty is returned by Queues when nothing is queued.
	ErrEmpty = errors.New("queue is empty")
	// ErrContended is returned when other writes came first each time; the worker's tick finishes what was begun.
	ErrContended = errors.New("contended")
	// ErrMalformed is returned for a stored value that is not exactly what this version writes.
	ErrMalformed = errors.New("malformed")
	// ErrFull is returned by Join when every slot is held by a live worker.
	ErrFull = errors.New("all worker slots are taken")
)

// malformed returns an error that wraps [ErrMalformed] and says what is wrong with a value.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
