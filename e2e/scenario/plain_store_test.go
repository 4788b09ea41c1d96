package scenario

import (
	"bytes"
	"strings"

	"github.com/streamlatch/streamlatch/filter/registry"
)

// store is Envoy's shared data as a map.
type store struct {
	values    map[string]stored
	writes    uint32
	contended bool // somebody else comes first in every bucket
}

type stored struct {
	value []byte
	cas   uint32
}

func (s *store) Get(key string) ([]byte, uint32, error) {
	v, ok := s.values[key]
	if !ok {
		return nil, 0, registry.ErrNotFound
	}
	return bytes.Clone(v.value), v.cas, nil
}

func (s *store) Set(key string, value []byte, cas uint32) error {
	v, ok := s.values[key]
	if ok && cas != 0 && cas != v.cas || s.contended && isBucket(key) {
		return registry.ErrCasMismatch
	}
	s.writes++
	s.values[key] = stored{bytes.Clone(value), s.writes}
	return nil
}

// isBucket reports whether streams are kept under the key.
func isBucket(key string) bool { return strings.Contains(key, "/b/") }

// queues are Envoy's shared queues. Each message wakes the worker that registered its queue last.
type queues struct {
	tokens   map[string]uint32
	owners   map[uint32]*plainWorker
	messages map[uint32][][]byte
	wakeups  []wakeup
}

type wakeup struct {
	worker *plainWorker
	queue  uint32
}

// queuesOf are the queues as one worker sees them.
type queuesOf struct {
	*queues
	worker *plainWorker
}

func (q queuesOf) Register(name string) (uint32, error) {
	token, ok := q.tokens[name]
	if !ok {
		token = uint32(len(q.tokens) + 1)
		q.tokens[name] = token
	}
	q.owners[token] = q.worker
	return token, nil
}

func (q queuesOf) Enqueue(token uint32, message []byte) error {
	q.messages[token] = append(q.messages[token], bytes.Clone(message))
	q.wakeups = append(q.wakeups, wakeup{q.owners[token], token})
	return nil
}

func (q queuesOf) Dequeue(token uint32) ([]byte, error) {
	if len(q.messages[token]) == 0 {
		return nil, registry.ErrEmpty
	}
	message := q.messages[token][0]
	q.messages[token] = q.messages[token][1:]
	return message, nil
}
