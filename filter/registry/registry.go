// Package registry keeps, in a store that all of Envoy's workers share, which event streams each client has open.
//
// # What is stored
//
// The store offers get and set with compare-and-swap, and no way to delete or list keys, so nothing is keyed by
// client. A fixed number of buckets hold the clients whose hash falls into them ([Bucket]), a slot for each worker
// says who is alive ([Record]), and one key holds what all must agree on, the size of the table and the seed of the
// hash ([Table]). Keys carry the version of the format: a new format is a new key space.
//
// # Who does what
//
// A [Worker] is one plugin context on one Envoy worker thread. It claims a place for each stream it opens
// ([Worker.Claim]), takes it back when the stream ends ([Worker.Release]), hears from others that a stream of its own
// was superseded ([Worker.Wake]), and puts right on its tick whatever went wrong ([Worker.Tick]). Nobody ever waits
// for another worker.
//
// # The rules that make it safe
//
// They come from a search of the protocol's state machine; each one left out leads to a violation.
//
//  1. A bucket numbers its claims. A stream keeps its number, and the streams of a client stand in that order.
//  2. Whoever declares a worker dead takes its slot away first and its streams after that. The other way round, a
//     live worker would find its streams gone from under a slot that still looks its own, and end them.
//  3. A worker that finds its slot gone takes a new one and puts its streams back under their old claim numbers, so
//     that a stream which was superseded meanwhile does not beat its successor.
//  4. A worker ends a stream for not being in the registry only if its slot is still its own when looked at after
//     the bucket was read.
//  5. Streams whose worker does not hold its slot any more are removed by whoever meets them: a claim that was under
//     way when its worker was swept may have written them since.
package registry

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Bounds of one call. Each is far above what a healthy Envoy needs, and what is left over is done on a later tick.
const (
	// EndsPerCall is how many streams one call may name to be reset. Envoy carries a callback's resets out nested, one
	// inside the other: at some 1,700 the VM's stack is full, and all its streams are cut.
	EndsPerCall = 256

	casAttempts    = 32   // tries of one compare-and-swap: each failure is another worker's success
	readPerCall    = 4096 // messages taken from the queue
	finishPerTick  = 256  // claims and releases taken up again
	checkPerTick   = 512  // own streams looked up in the registry
	watchPerTick   = 64   // slots looked at for workers that have died
	scanPerTick    = 64   // buckets looked through for orphans
	sweepPerTick   = 2048 // the same, while a dead worker's streams are being removed
	missedTicks    = 3    // of the observer's own, without a heartbeat: the worker is dead
	wakeupIsLateMs = 500  // a message this old that only a tick found: its wake-up was lost
)

// Meter receives what the registry counts. Calls come after the write that they speak of has succeeded.
type Meter interface {
	// Active reports that the number of the rule's streams in the registry has changed by delta.
	Active(rule RuleID, delta int)
	// Count reports that event happened n times.
	Count(event Event, n int)
}

// Event is something worth counting that is nobody's stream opening or ending.
type Event uint8

const (
	Contended  Event = iota + 1 // a claim or release used up its tries; a tick finishes it, unless it is given up
	Malformed                   // a stored value could not be read and was started afresh
	Swept                       // a stream was removed whose worker had died
	LostWakeup                  // a tick found that a stream has no place, and not its message
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

// Worker is one plugin context on one Envoy worker thread: the owner of the streams that it claims. It is not safe
// for use from several goroutines, as a plugin context is not.
type Worker struct {
	store  Store
	queues Queues
	meter  Meter
	random func() uint64

	maxTotal int // see LimitTotal

	table  Table
	owner  policy.Owner // no incarnation: holds no slot
	queue  uint32
	peers  []peer // by slot, as of the last look
	now    int64  // of the call that is running
	bucket Bucket // scratch of update and look
	value  []byte // scratch of update

	streams    []*Stream // all between Claim and Release
	byContext  map[uint32]*Stream
	registered int       // streams in states that count, see State.counted
	unfinished []*Stream // for a tick to go on with, oldest first; some are finished by now
	missing    []*Stream // not found by the last look; some are in another state by now

	watched uint16 // cursor of the look at the slots
	checked int    // cursor of the self-check in streams
	scanned uint32 // cursor of the scan in the table
	toSweep uint32 // buckets still to be scanned after a death
}

// peer is what a worker remembers of a slot.
type peer struct {
	record Record
	looks  int // own ticks that saw the record as it is now
}

// NewWorker returns a worker that does not touch the store until [Worker.Join]. random supplies incarnations and the
// table's seed: it must be unpredictable to clients.
func NewWorker(store Store, queues Queues, meter Meter, random func() uint64) *Worker {
	return &Worker{store: store, queues: queues, meter: meter, random: random, byContext: map[uint32]*Stream{}}
}

// LimitTotal sets how many streams all workers together may have in the registry, of which this worker refuses to make
// more; 0: no limit.
func (w *Worker) LimitTotal(n int) { w.maxTotal = n }

// Owner returns the identity the worker holds now; its incarnation is 0 before the first Join.
func (w *Worker) Owner() policy.Owner { return w.owner }

// Table returns what all workers agree on; it is zero before the first Join.
func (w *Worker) Table() Table { return w.table }

// update reads bucket n, lets step change it, and writes it back with compare-and-swap: again from the start while
// others get in between, [ErrContended] when the tries are used up. A step that reports no change ends it without a
// write. The bucket that step sees must not be kept.
func (w *Worker) update(n uint32, step func(*Bucket) bool) error {
	key := bucketKey(n)
	for range casAttempts {
		cas, malformed, err := w.look(key)
		if err != nil {
			return err
		}
		if !step(&w.bucket) {
			return nil
		}
		w.value = w.bucket.Append(w.value[:0])
		err = w.store.Set(key, w.value, cas)
		if err == nil {
			if malformed {
				w.meter.Count(Malformed, 1)
			}
			return nil
		}
		if !errors.Is(err, ErrCasMismatch) {
			return fmt.Errorf("write %s: %w", key, err)
		}
	}
	return fmt.Errorf("write %s: %w", key, ErrContended)
}

// look reads a bucket into w.bucket. One that is absent or malformed reads as empty. A malformed one goes on counting
// claims from the time in milliseconds, far above what counting from 1 can have come to: a stream that returns under
// its old number is older than those that came since.
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
		w.bucket.Claims = uint64(max(0, w.now))
		return cas, true, nil
	}
	return cas, false, nil
}
