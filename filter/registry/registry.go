// Package registry keeps, in a store that all workers of Envoy share, which event streams each
// client has open. filter/DESIGN.md explains the words and the protocol.
//
// # What is stored
//
// A [Store] can get a value, and set one with compare-and-swap. It cannot delete a key or list
// keys. A key for each client would therefore stay for ever, so clients share a fixed number of
// buckets: the client's hash picks its [Bucket]. Each worker has a slot, whose [Record] says that
// the worker lives. One key holds the [Table]: the number of buckets and the seed of the hash,
// on which all workers must agree. Another holds the names of the rules. Keys begin with the
// version of the format, so two versions never read each other's values.
//
// # Who does what
//
// A [Worker] is one plugin context on one worker thread of Envoy. It claims a place for each stream
// that it opens ([Worker.Claim]) and releases the place when the stream ends ([Worker.Release]).
// Other workers send it a message when they supersede one of its streams ([Worker.Wake]). On its
// tick it repairs what went wrong before: lost wake-ups, lost races, dead workers, a lost slot
// ([Worker.Tick]). No call waits for another worker.
//
// # The rules
//
// Workers share the store without a lock, and each can stop or crash between any two calls. Package
// registry/model searches every order of events; DESIGN.md tells what goes wrong without each rule.
// This is where the code keeps them:
//
//   - compare and swap: update is the only function that writes a bucket.
//   - release by name: unregister removes a stream by its own name, see [policy.Stream.Is].
//   - self-check: visit looks the worker's streams up, and confirm ends those that are missing
//     twice.
//   - sweep the dead: watch takes the slot of a worker whose heartbeat stands still, and visit
//     removes its streams.
//   - fence first: watch frees the slot before anything removes a stream of its worker.
//   - slot last: confirm reads the worker's own slot after the buckets; if the slot is lost, it
//     ends nothing.
//   - put back: keepSlot takes another slot after a loss, and visit puts the streams back.
//   - keep the number: putBack uses the stream's old claim number, and entries stand in that order.
//   - remove orphans: every claim and every visit of a bucket removes those that it meets.
//   - remember a dismissal: Dismiss leaves a claim number in the entry, and a stream that is not
//     newer does not come back.
package registry

import (
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Bounds of one call. A healthy Envoy stays far below them. What is left over is done in the next
// call, which the worker asks for by a message to itself: within milliseconds.
const (
	// EndsPerCall is how many streams one call may name to be reset. Envoy carries out the
	// resets of one callback nested, one inside the other: at about 1,700 the VM's stack is
	// full, and all of its streams are cut.
	EndsPerCall = 256

	casAttempts    = 32   // tries of one compare-and-swap; each failure is another worker's success
	readPerCall    = 4096 // messages read from the queue
	finishPerCall  = 256  // claims and releases tried again
	visitsPerCall  = 512  // buckets visited; some 3 ms
	checksPerTick  = 128  // buckets with own streams visited in every tick
	visitsPerTick  = 64   // buckets visited in every tick, whoever's streams are in them
	watchPerTick   = 64   // held slots looked at, to find dead workers
	missedTicks    = 3    // own ticks without a heartbeat of another worker, after which it is dead
	silentMs       = 1500 // without a heartbeat; then nobody is refused for the sake of its streams
	tryJoinAfterMs = 1000 // if all slots were taken
	wakeupIsLateMs = 500  // if a tick finds an older message, the wake-up for it was lost
)

// Meter receives what the registry counts. It is called after the write that made the change has
// succeeded.
type Meter interface {
	// Active reports that the number of the rule's streams in the registry has changed by
	// delta.
	Active(rule RuleID, delta int)
	// Count reports that event happened n times.
	Count(event Event, n int)
}

// Event is something that is counted besides the streams.
type Event uint8

const (
	Contended  Event = iota + 1 // a claim or release lost every race; a tick tries again
	Malformed                   // a stored value could not be read and was started afresh
	Swept                       // an orphan was removed: a stream whose worker had lost its slot
	LostWakeup                  // a tick learned that a stream has lost its place; no wake-up came in time
)

func (e Event) String() string {
	switch e {
	case Contended:
		return "contended"
	case Malformed:
		return "malformed"
	case Swept:
		return "swept"
	case LostWakeup:
		return "lost_wakeups"
	}
	return "event(" + strconv.Itoa(int(e)) + ")"
}

// Worker is one plugin context on one worker thread of Envoy: the owner of the streams that it
// claims. Like a plugin context, it must not be used from several goroutines.
type Worker struct {
	store  Store
	queues Queues
	meter  Meter
	random func() uint64

	maxTotal int // see LimitTotal
	expected int // streams, see Expect

	table  Table
	owner  policy.Owner // incarnation 0: holds no slot
	queue  uint32
	peers  []peer // by slot, as of the last read
	now    int64  // milliseconds, as given to the call that is running
	bucket Bucket // scratch of update and look
	peeked peeks
	heard  uint32 // messages that were counted in Record.Told and have come
	value  []byte // scratch of update

	announced []announcement // scratch of announce
	ownRules  []string       // names that NameRule was called with
	seenRules []byte         // the stored names, as of the last tick that has read them

	placed *Stream       // by the running call of Place
	memory policy.Memory // that the fleet has of its client

	own        []*Stream // from Claim to Release, by bucket: the first of each; len 0 before the first Claim
	registered int       // those in the states of State.counted
	unfinished []*Stream // Pending and Releasing, oldest first; may hold streams of other states
	suspects   []uint32  // buckets of the streams in state Missing; may hold others

	// What the running tick has still to do, in this call or the next.
	toFinish  int    // from the front of unfinished
	toConfirm int    // from the front of suspects
	toCheck   int    // buckets with own streams, from checked on
	toVisit   uint32 // buckets, from visited on
	unread    bool   // messages may be in the queue that have no wake-up
	reminded  bool   // a message to itself is under way

	visited   uint32 // the bucket that was visited last
	checked   uint32 // the bucket with own streams that was visited last
	shared    uint32 // the bucket whose streams Share has yielded last
	alarm     int    // ticks in which watch reads all slots
	fullUntil int64  // all slots were taken: Join does not look again before
}

// peer is what a worker remembers of a slot.
type peer struct {
	record Record
	looks  int // own ticks since its heartbeat last moved
}

// NewWorker returns a worker. It does not touch the store before [Worker.Join] or [Worker.Open].
// random supplies incarnations and the seed of the table: clients must not be able to predict it.
func NewWorker(store Store, queues Queues, meter Meter, random func() uint64) *Worker {
	return &Worker{store: store, queues: queues, meter: meter, random: random}
}

// LimitTotal sets how many streams all workers together may have in the registry; 0 means no limit.
// A worker refuses streams by its own setting only.
func (w *Worker) LimitTotal(n int) { w.maxTotal = n }

// Streams returns how many streams the worker has in the registry.
func (w *Worker) Streams() int { return w.registered }

// Owner returns the name under which the worker claims now. Its incarnation is 0 while the worker
// holds no slot.
func (w *Worker) Owner() policy.Owner { return w.owner }

// Table returns what all workers agree on. It is zero before the first Join or Open.
func (w *Worker) Table() Table { return w.table }

// add makes s one of the worker's streams.
func (w *Worker) add(s *Stream) {
	if len(w.own) == 0 {
		w.own = make([]*Stream, w.table.Buckets())
	}
	first := &w.own[w.table.bucket(s.Client)]
	if s.next = *first; s.next != nil {
		s.next.previous = s
	}
	*first = s
}

// remove makes s no stream of the worker any more.
func (w *Worker) remove(s *Stream) {
	if s.next != nil {
		s.next.previous = s.previous
	}
	if s.previous != nil {
		s.previous.next = s.next
	} else {
		w.own[w.table.bucket(s.Client)] = s.next
	}
	s.next, s.previous = nil, nil
}

// first returns the first of the worker's streams in bucket n, or nil.
func (w *Worker) first(n uint32) *Stream {
	if int(n) >= len(w.own) {
		return nil
	}
	return w.own[n]
}

// Client yields the worker's streams of a client, from Claim to Release, except those that go on
// without a place because their rule only observes: they may be any number.
func (w *Worker) Client(id ClientID) iter.Seq[*Stream] {
	return func(yield func(*Stream) bool) {
		for s := w.first(w.table.bucket(id)); s != nil; s = s.next {
			if s.Client == id && (s.Enforce || s.state.alive()) && !yield(s) {
				return
			}
		}
	}
}

// Share calls visit for the worker's streams in the next buckets, in a circle. After most streams
// it stops at the end of a bucket, and returns how many of the buckets are left. visit may release
// the stream.
func (w *Worker) Share(buckets uint32, most int, visit func(*Stream)) (left uint32) {
	if len(w.own) == 0 {
		return 0
	}
	for ; buckets > 0 && most > 0; buckets-- {
		w.shared = (w.shared + 1) % uint32(len(w.own))
		for s := w.first(w.shared); s != nil; {
			next := s.next
			visit(s)
			most--
			s = next
		}
	}
	return buckets
}

// update reads bucket n, lets step change it, and writes it with compare-and-swap. If another
// worker has written the bucket meanwhile, update begins again; after casAttempts tries it returns
// [ErrContended]. If step returns false, nothing is written. step may run several times, and must
// not keep the bucket.
//
// The first try takes what Peek has read, if it has. Only a write that succeeds shows that this was
// still in the store: if step returns false, the bucket is read after all.
func (w *Worker) update(n uint32, step func(*Bucket) bool) error {
	key := bucketKey(n)
	cas, peeked := w.peeked.take(n, &w.bucket)
	malformed := false
	for range casAttempts {
		w.retract()
		if !peeked {
			var err error
			if cas, malformed, err = w.look(key); err != nil {
				return err
			}
		}
		if !step(&w.bucket) {
			if peeked {
				peeked = false
				continue
			}
			w.retract()
			return nil
		}
		w.value = w.bucket.Append(w.value[:0])
		err := w.store.Set(key, w.value, cas)
		if err == nil {
			if malformed {
				w.meter.Count(Malformed, 1)
			}
			return nil
		}
		if !errors.Is(err, ErrCasMismatch) {
			w.retract()
			return fmt.Errorf("write %s: %w", key, err)
		}
		peeked = false
	}
	w.retract()
	return fmt.Errorf("write %s: %w", key, ErrContended)
}

// look reads a bucket into w.bucket. An absent or malformed bucket reads as empty. A malformed one
// goes on counting claims from a number far above any count that began at 1: if one of its old
// streams is put back, it is still older than the new ones. The time is added for the case that the
// bucket becomes malformed again.
func (w *Worker) look(key string) (cas uint32, malformed bool, err error) {
	value, cas, err := w.store.Get(key)
	switch {
	case errors.Is(err, ErrNotFound):
		w.bucket.reset()
		return Absent, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("read %s: %w", key, err)
	}
	if err := w.bucket.parse(value); err != nil {
		w.bucket.reset()
		const farAbove = 1 << 48
		w.bucket.Claims = farAbove + uint64(max(0, w.now))
		return cas, true, nil
	}
	return cas, false, nil
}
