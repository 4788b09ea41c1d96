package registry

import (
	"errors"
	"fmt"
)

// Store is a map that all workers share: Envoy's shared data.
type Store interface {
	// Get returns the value of key and the number of its last write, or [ErrNotFound]. The
	// caller owns the value.
	Get(key string) (value []byte, cas uint32, err error)
	// Set writes value if cas is the number of the key's last write, or if the key is absent.
	// Otherwise it returns [ErrCasMismatch]. In Envoy a cas of 0 overwrites any value; this
	// package never passes 0. Set does not keep value.
	Set(key string, value []byte, cas uint32) error
}

// Absent is the cas that creates a key only if it is absent. Envoy creates an absent key whatever
// the cas is, and refuses to write a present key whose number is another one. It numbers writes
// from 1, so a key has this number only once in four billion writes. Until that key is written
// again, a create could overwrite it. Only slots, their reports, the table, the names of rules and
// new buckets are created, each of them once.
const Absent uint32 = 1<<32 - 1

// Queues are the message queues of the workers: Envoy's shared queues.
type Queues interface {
	// Register returns the token of the queue with this name. From then on the caller gets the
	// queue's wake-ups. Messages that are in the queue stay.
	Register(name string) (token uint32, err error)
	// Enqueue adds a message. It succeeds even if no worker is left to read it. It does not
	// keep message.
	Enqueue(token uint32, message []byte) error
	// Dequeue removes and returns the oldest message, or returns [ErrEmpty].
	Dequeue(token uint32) ([]byte, error)
}

var (
	// ErrNotFound is returned by a Store for an absent key.
	ErrNotFound = errors.New("not found")
	// ErrCasMismatch is returned by a Store when another write came first.
	ErrCasMismatch = errors.New("cas mismatch")
	// ErrEmpty is returned by Queues when the queue has no message.
	ErrEmpty = errors.New("queue is empty")
	// ErrContended is returned by a call of a Worker when every try of its write lost against
	// another worker's. The worker's tick tries again.
	ErrContended = errors.New("contended")
	// ErrMalformed is returned for a stored value that is not exactly what this version writes.
	ErrMalformed = errors.New("malformed")
	// ErrFull is returned by Join when every slot is held.
	ErrFull = errors.New("all worker slots are taken")
)

// malformed returns an error that wraps [ErrMalformed] and says what is wrong with the value.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
