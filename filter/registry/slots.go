package registry

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Join gives the worker a slot under a new incarnation, and a queue on which other workers reach
// it. If the worker holds a slot already, it does nothing. It must be called before the first Peek
// or Claim, but not before the plugin context sees its first stream: Envoy also starts plugin
// contexts that never see one. now is in milliseconds.
func (w *Worker) Join(now int64) error {
	w.now = now
	return w.join()
}

// Open reads the table, or writes it if there is none. Join includes it. Open alone is enough for
// Dismiss, Workers, NameRule and Rules.
func (w *Worker) Open() error {
	if w.table != (Table{}) {
		return nil
	}
	table, err := loadTable(w.store, w.random)
	if err != nil {
		return err
	}
	w.table = table
	return nil
}

func (w *Worker) join() error {
	if w.owner.Incarnation != 0 {
		return nil
	}
	if err := w.Open(); err != nil {
		return err
	}
	if w.now < w.fullUntil {
		return ErrFull
	}
	owner := policy.Owner{Incarnation: w.random() | 1} // never 0, which means a free slot
	if err := w.takeSlot(&owner); err != nil {
		if errors.Is(err, ErrFull) {
			w.fullUntil = w.now + tryJoinAfterMs
		}
		return err
	}
	// Only the slot's owner may register the slot's queue, because that moves the wake-ups. The
	// queue may still hold messages for an earlier owner. They name its incarnation, so drain
	// ignores them.
	queue, err := w.queues.Register(queueName(owner.Slot))
	if err != nil {
		err = fmt.Errorf("register queue %s: %w", queueName(owner.Slot), err)
		return errors.Join(err, w.leaveSlot(owner))
	}
	w.owner, w.queue, w.heard = owner, queue, 0
	// Streams of the worker's earlier incarnation are put back by the next visits (put back, keep
	// the number).
	for n := range uint32(len(w.own)) {
		for s := w.first(n); s != nil; s = s.next {
			if s.state == Registered || s.state == Missing {
				s.state = Returning
				w.visitAll()
			}
		}
	}
	err = w.beat(w.total())
	if errors.Is(err, errSwept) { // this took so long that the worker was declared dead
		w.owner, w.queue = policy.Owner{}, 0
	}
	return err
}

// takeSlot writes the incarnation of owner into the lowest free slot, and sets owner.Slot. Because
// slots are taken from the lowest, the first absent key comes after all slots that were ever used.
func (w *Worker) takeSlot(owner *policy.Owner) error {
	record := Record{Incarnation: owner.Incarnation, BeatAt: w.now}
	for slot := range uint16(MaxWorkers) {
		for range casAttempts {
			held, cas, err := w.readSlot(slot)
			if err != nil {
				return err
			}
			if held.Incarnation != 0 {
				break
			}
			err = w.store.Set(slotKey(slot), record.Append(nil), cas)
			if err == nil {
				owner.Slot = slot
				return nil
			}
			if !errors.Is(err, ErrCasMismatch) {
				return fmt.Errorf("write %s: %w", slotKey(slot), err)
			}
		}
	}
	return ErrFull
}

// leaveSlot frees a slot whose worker could not register its queue. Otherwise every failed try
// would leave a slot that nobody uses until it is swept.
func (w *Worker) leaveSlot(owner policy.Owner) error {
	held, cas, err := w.readSlot(owner.Slot)
	if err != nil || held.Incarnation != owner.Incarnation {
		return err
	}
	if err := w.store.Set(slotKey(owner.Slot), Record{}.Append(nil), cas); err != nil {
		return fmt.Errorf("write %s: %w", slotKey(owner.Slot), err)
	}
	return nil
}

// readSlot returns the record of a slot and remembers it in peers. An absent or malformed record
// reads as free.
func (w *Worker) readSlot(slot uint16) (Record, uint32, error) {
	value, cas, err := w.store.Get(slotKey(slot))
	if errors.Is(err, ErrNotFound) {
		return Record{}, Absent, nil
	}
	if err != nil {
		return Record{}, 0, fmt.Errorf("read %s: %w", slotKey(slot), err)
	}
	record, err := ParseRecord(value)
	if err != nil {
		w.count(Malformed, 1)
		record = Record{}
	}
	if more := int(slot) + 1 - len(w.peers); more > 0 {
		w.peers = append(w.peers, make([]peer, more)...)
	}
	p := &w.peers[slot]
	if p.record.Incarnation != record.Incarnation || p.record.Heartbeat != record.Heartbeat {
		p.looks = 0
	}
	p.record = record
	return record, cas, nil
}

// errSwept says that the worker has lost its slot: other workers have declared it dead.
var errSwept = errors.New("worker has lost its slot")

// beat moves the heartbeat in the worker's slot on, and writes there how many streams the worker
// has.
func (w *Worker) beat(streams int) error {
	for range casAttempts {
		record, cas, err := w.readSlot(w.owner.Slot)
		if err != nil {
			return err
		}
		if record.Incarnation != w.owner.Incarnation {
			return errSwept
		}
		record.Queue, record.Live, record.BeatAt = w.queue, uint32(streams), w.now
		record.Heartbeat++
		err = w.store.Set(slotKey(w.owner.Slot), record.Append(nil), cas)
		if err == nil {
			w.peers[w.owner.Slot].record = record
			return nil
		}
		if !errors.Is(err, ErrCasMismatch) {
			return fmt.Errorf("write %s: %w", slotKey(w.owner.Slot), err)
		}
	}
	return fmt.Errorf("write %s: %w", slotKey(w.owner.Slot), ErrContended)
}

// holds reports whether owner holds its slot, and returns the slot's record. A yes may be as old as
// the last tick; if it is wrong, a claim sends a message that nobody reads. A no is read from the
// store now. It stays true for ever, because incarnations never come back.
func (w *Worker) holds(owner policy.Owner) (Record, bool) {
	if int(owner.Slot) < len(w.peers) {
		if r := w.peers[owner.Slot].record; r.Incarnation == owner.Incarnation && r.Queue != 0 {
			return r, true
		}
	}
	record, _, err := w.readSlot(owner.Slot)
	if err != nil { // unknown, so the stream keeps its place
		return Record{}, true
	}
	return record, record.Incarnation == owner.Incarnation
}

// orphaned reports whether the worker of s has lost its slot.
func (w *Worker) orphaned(s policy.Stream) bool {
	_, held := w.holds(s.Owner)
	return !held
}

// withoutOrphans returns client without the orphans, and the number of orphans. Call it between
// reading and writing the bucket, so that the write fails if the bucket has changed.
func (w *Worker) withoutOrphans(client policy.Client) (policy.Client, int) {
	if !slices.ContainsFunc(client.Streams, w.orphaned) {
		return client, 0
	}
	n := len(client.Streams)
	client = client.Without(w.orphaned, w.now)
	return client, n - len(client.Streams)
}

// silent reports whether the worker of s has let no heartbeat be seen for silentMs, or has lost its
// slot: what withoutOrphans knows of it may be as old as the last tick. All workers share one
// clock.
func (w *Worker) silent(s policy.Stream) bool {
	if s.Owner == w.owner {
		return false
	}
	record, _, err := w.readSlot(s.Owner.Slot)
	return err == nil && (record.Incarnation != s.Owner.Incarnation || w.now-record.BeatAt > silentMs)
}

// watch reads the slots that follow the worker's own, in a circle, and takes the slot of a worker
// whose heartbeat has stood still over missedTicks of this worker's own ticks. It takes the slot
// only; visits of the buckets remove the streams (fence first). It compares no clocks: after the
// machine was suspended, workers must not declare each other dead.
//
// It reads until it has seen watchPerTick slots that are held, so a thousand workers do not read a
// million slots a second, and each is watched by those before it. After a death it reads all: many
// may have died at once.
func (w *Worker) watch(d *Done) error {
	used, failed := w.usedSlots()
	most := watchPerTick
	if w.alarm > 0 {
		w.alarm--
		most = MaxWorkers
	}
	for i := 1; i < used && most > 0; i++ {
		slot := uint16((int(w.owner.Slot) + i) % used)
		record, cas, err := w.readSlot(slot)
		failed = cmp.Or(failed, err)
		if err != nil || record.Incarnation == 0 {
			continue
		}
		most--
		p := &w.peers[slot]
		if p.looks++; p.looks <= missedTicks {
			continue
		}
		switch err := w.store.Set(slotKey(slot), Record{}.Append(nil), cas); {
		case err == nil:
			p.record, p.looks = Record{}, 0
			d.Deaths++
			w.alarm = missedTicks + 1
			w.visitAll()
		case !errors.Is(err, ErrCasMismatch): // a mismatch: the worker lives, or another worker took its slot first
			failed = cmp.Or(failed, fmt.Errorf("write %s: %w", slotKey(slot), err))
		}
	}
	return failed
}

// usedSlots returns how many slots were ever used. They are the first, see takeSlot.
func (w *Worker) usedSlots() (int, error) {
	for {
		n := len(w.peers)
		if n == MaxWorkers {
			return n, nil
		}
		if _, cas, err := w.readSlot(uint16(n)); err != nil || cas == Absent {
			return n, err
		}
	}
}

// Slot is a worker as other workers see it.
type Slot struct {
	Number uint16
	Record
	Report   []byte // see [Worker.Report]; nil if there is none
	Reported uint32 // and its number
}

// Workers returns the slots that are held now.
func (w *Worker) Workers() (held []Slot, err error) {
	for slot := range uint16(MaxWorkers) {
		record, cas, err := w.readSlot(slot)
		if err != nil || cas == Absent {
			return held, err
		}
		if record.Incarnation == 0 {
			continue
		}
		r, _, err := w.readReport(policy.Owner{Slot: slot, Incarnation: record.Incarnation})
		if err != nil {
			return held, err
		}
		held = append(held, Slot{slot, record, r.text, r.number})
	}
	return held, nil
}

// Report leaves for all workers what this one says of itself: a number, see [Worker.Reported], and
// text, see [Worker.Workers]. Each report takes the place of the last. A worker without a slot
// leaves none.
func (w *Worker) Report(number uint32, text []byte) error {
	if w.owner.Incarnation == 0 {
		return nil
	}
	_, cas, err := w.readReport(w.owner)
	if err != nil {
		return err
	}
	key := reportKey(w.owner.Slot)
	value := binary.LittleEndian.AppendUint64([]byte{formatVersion}, w.owner.Incarnation)
	value = binary.LittleEndian.AppendUint32(value, number)
	if err := w.store.Set(key, append(value, text...), cas); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// Reported adds up the numbers that the workers have left. Those of the dead do not count, once
// their slots were taken.
func (w *Worker) Reported() (sum int, err error) {
	workers, err := w.Workers()
	for _, slot := range workers {
		sum += int(slot.Reported)
	}
	return sum, err
}

// ReportsFirst reports whether the worker is the first of those that have left a report, in the
// order of their slots.
func (w *Worker) ReportsFirst() (bool, error) {
	for slot := range w.owner.Slot {
		record, _, err := w.readSlot(slot)
		if err != nil {
			return false, err
		}
		r, _, err := w.readReport(policy.Owner{Slot: slot, Incarnation: record.Incarnation})
		if err != nil || r.text != nil {
			return false, err
		}
	}
	return w.owner.Incarnation != 0, nil
}

// leftReport is what a worker has left in its slot.
type leftReport struct {
	number uint32
	text   []byte // nil: it has left nothing
}

// readReport returns the report of owner. One of another life of the slot says nothing.
func (w *Worker) readReport(owner policy.Owner) (r leftReport, cas uint32, err error) {
	value, cas, err := w.store.Get(reportKey(owner.Slot))
	switch {
	case errors.Is(err, ErrNotFound):
		return leftReport{}, Absent, nil
	case err != nil:
		return leftReport{}, 0, fmt.Errorf("read %s: %w", reportKey(owner.Slot), err)
	case owner.Incarnation == 0 || len(value) < reportHeaderSize || value[0] != formatVersion || binary.LittleEndian.Uint64(value[1:]) != owner.Incarnation:
		return leftReport{}, cas, nil
	}
	return leftReport{binary.LittleEndian.Uint32(value[9:]), value[reportHeaderSize:]}, cas, nil
}
