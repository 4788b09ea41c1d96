package registry

import (
	"fmt"
	"slices"
	"sync"
)

// envoy is the shared data and the shared queues of one Envoy, by the rules of host/ENVOY.md. An
// absent key is created whatever the cas is. Cas 0 overwrites. Any other cas must be the number of
// the key's last write. One counter numbers the writes of all keys, and skips 0. A queue that is
// registered again keeps its token and its messages, and its wake-ups move to the caller. A message
// is accepted whether or not a worker is left to read it. Bytes are copied on the way in and out.
type envoy struct {
	mu      sync.Mutex
	data    map[string]datum
	cas     uint32
	tokens  map[string]uint32
	queues  []queue                              // by token-1
	wakeups map[int][]uint32                     // by listener: one token for each message, until they are taken
	calls   int                                  // calls to the store and to queues so far
	onWrite func(key string, before, now []byte) // is called inside every write; may be nil
}

type datum struct {
	value []byte
	cas   uint32
}

type queue struct {
	listener int
	messages [][]byte
}

func newEnvoy() *envoy {
	return &envoy{data: map[string]datum{}, tokens: map[string]uint32{}, wakeups: map[int][]uint32{}}
}

// call is one call of a worker to the store or to a queue.
type call struct{ name, on string }

func (c call) String() string { return c.name + " " + c.on }

// port is one worker's access to envoy.
type port struct {
	envoy    *envoy
	listener int
	// before is called before every call happens. It may let other workers run. If it returns
	// an error, the call fails with it and does not happen.
	before func(call) error
}

// enter counts the call and holds envoy's lock until leave is called.
func (p *port) enter(name, on string) (leave func(), err error) {
	if p.before != nil {
		if err := p.before(call{name, on}); err != nil {
			return nil, err
		}
	}
	p.envoy.mu.Lock()
	p.envoy.calls++
	return p.envoy.mu.Unlock, nil
}

func (p *port) Get(key string) ([]byte, uint32, error) {
	leave, err := p.enter("get", key)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	d, ok := p.envoy.data[key]
	if !ok {
		return nil, 0, ErrNotFound
	}
	return slices.Clone(d.value), d.cas, nil
}

func (p *port) Set(key string, value []byte, cas uint32) error {
	leave, err := p.enter("set", key)
	if err != nil {
		return err
	}
	defer leave()
	d, ok := p.envoy.data[key]
	if ok && cas != 0 && cas != d.cas {
		return ErrCasMismatch
	}
	if p.envoy.cas++; p.envoy.cas == 0 {
		p.envoy.cas = 1
	}
	p.envoy.data[key] = datum{slices.Clone(value), p.envoy.cas}
	if p.envoy.onWrite != nil {
		p.envoy.onWrite(key, d.value, value)
	}
	return nil
}

func (p *port) Register(name string) (uint32, error) {
	leave, err := p.enter("register", name)
	if err != nil {
		return 0, err
	}
	defer leave()
	token, ok := p.envoy.tokens[name]
	if !ok {
		p.envoy.queues = append(p.envoy.queues, queue{})
		token = uint32(len(p.envoy.queues))
		p.envoy.tokens[name] = token
	}
	p.envoy.queues[token-1].listener = p.listener
	return token, nil
}

func (p *port) Enqueue(token uint32, message []byte) error {
	leave, err := p.enter("enqueue", fmt.Sprint(token))
	if err != nil {
		return err
	}
	defer leave()
	if token < 1 || int(token) > len(p.envoy.queues) {
		return ErrNotFound
	}
	q := &p.envoy.queues[token-1]
	q.messages = append(q.messages, slices.Clone(message))
	p.envoy.wakeups[q.listener] = append(p.envoy.wakeups[q.listener], token)
	return nil
}

func (p *port) Dequeue(token uint32) ([]byte, error) {
	leave, err := p.enter("dequeue", fmt.Sprint(token))
	if err != nil {
		return nil, err
	}
	defer leave()
	if token < 1 || int(token) > len(p.envoy.queues) {
		return nil, ErrNotFound
	}
	q := &p.envoy.queues[token-1]
	if len(q.messages) == 0 {
		return nil, ErrEmpty
	}
	message := q.messages[0]
	q.messages = q.messages[1:]
	return message, nil
}

// takeWakeups returns the tokens of the queues for which the listener is to be woken, and forgets
// them.
func (e *envoy) takeWakeups(listener int) []uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	tokens := e.wakeups[listener]
	delete(e.wakeups, listener)
	return tokens
}

// write overwrites a key, which no worker does.
func (e *envoy) write(key string, value []byte) {
	if err := (&port{envoy: e}).Set(key, value, 0); err != nil {
		panic(err)
	}
}
