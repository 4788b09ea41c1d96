package registry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// tell sends a message to the owner of each stream, which are all in one bucket, and returns how
// many it has sent. It does not try again: if a message is not sent, the self-check of the owner
// finds the stream.
func (w *Worker) tell(bucket uint32, streams []policy.Stream, kind func(policy.Stream) MessageKind, reply Reply) (told int) {
	for _, r := range streams {
		record, held := w.holds(r.Owner)
		if !held || record.Queue == 0 {
			continue
		}
		m := Message{
			Address: Address{Incarnation: r.Owner.Incarnation, Claim: r.Claim, Context: r.Context, Bucket: bucket},
			SentAt:  w.now,
			ReplyTo: reply,
			Kind:    kind(r),
		}
		if r.Owner == w.owner { // not announced, see announce
			w.heard--
		}
		if w.queues.Enqueue(record.Queue, m.Append(nil)) == nil {
			told++
		}
	}
	return told
}

// gone sends a waiting claim the message that a stream has ended. If the message is lost, the wait
// ends at its limit, see [Stream.Awaits].
func (w *Worker) gone(to *Reply) {
	if to != nil && to.Queue != 0 {
		m := Message{Address: to.Address, SentAt: w.now, Kind: Gone}
		_ = w.queues.Enqueue(to.Queue, m.Append(nil))
	}
}

// address names s, a stream of this worker.
func (w *Worker) address(s *Stream) Address {
	return Address{Incarnation: s.life, Claim: s.claim, Context: s.Context, Bucket: w.table.bucket(s.Client)}
}

// Recall makes a later Wake of this worker return s, which belongs to it. It is for work that must
// not be done in the callback that is running. If the wake-up is lost, the next Tick returns s. If
// the message is lost, nothing does.
func (w *Worker) Recall(now int64, s *Stream) error {
	return w.toSelf(Message{Address: w.address(s), SentAt: now, Kind: Recalled})
}

// Remind makes the host call Wake once more, as soon as the callback that is running has returned:
// for work that is too much for one callback. If the wake-up is lost, it does not come before the
// next Tick.
func (w *Worker) Remind(now int64) error {
	if w.reminded {
		return nil
	}
	w.reminded = true
	return w.toSelf(Message{Address: Address{Incarnation: w.owner.Incarnation}, SentAt: now, Kind: Recalled}) // of no stream
}

func (w *Worker) toSelf(m Message) error {
	if err := w.queues.Enqueue(w.queue, m.Append(nil)); err != nil {
		return fmt.Errorf("write queue %d: %w", w.queue, err)
	}
	return nil
}

// Wake reads the worker's queue, and goes on with what a tick has left over. now is in
// milliseconds.
//
// A message names context id, incarnation and claim of a stream. One that was meant for an earlier
// life of the slot therefore finds nothing. If queue is not the worker's any more, Wake leaves its
// messages to the next owner.
func (w *Worker) Wake(now int64, queue uint32) (Done, error) {
	var d Done
	if queue != w.queue {
		return d, nil
	}
	w.now = now
	before := w.registered
	_, err := w.drain(&d, 0)
	err = errors.Join(err, w.proceed(&d))
	if w.registered != before {
		w.publish()
	}
	return d, err
}

// drain reads messages until the call has named enough streams. late is how many of the streams
// that lost their place learned it from a message sent before the given time.
func (w *Worker) drain(d *Done, before int64) (late int, err error) {
	for range readPerCall {
		if d.room() == 0 {
			break
		}
		value, err := w.queues.Dequeue(w.queue)
		if errors.Is(err, ErrEmpty) {
			w.unread = false
			return late, nil
		}
		if err != nil {
			return late, fmt.Errorf("read queue %d: %w", w.queue, err)
		}
		m, err := ParseMessage(value)
		if err != nil {
			w.count(Malformed, 1)
			continue
		}
		if w.receive(d, m) && m.SentAt < before {
			late++
		}
	}
	w.unread = true
	return late, nil
}

// receive does what a message says. It reports whether a stream lost its place by it.
func (w *Worker) receive(d *Done, m Message) bool {
	if m.Kind == Recalled && m.Claim == 0 {
		w.reminded = false
		return false
	}
	// Those that tell counts; not what is about a claim that waits.
	if m.Kind != Recalled && m.Kind != Gone && m.Incarnation == w.owner.Incarnation {
		w.heard++
	}
	s := w.find(m.Address)
	if s == nil {
		w.gone(&m.ReplyTo) // the stream has ended already
		return false
	}
	switch m.Kind {
	case Recalled:
		d.end(s)
		return false
	case Gone:
		if s.awaits > 0 {
			if s.awaits--; s.awaits == 0 {
				d.end(s)
			}
		}
		return false
	}
	if m.ReplyTo.Queue != 0 {
		s.replyTo = &m.ReplyTo
	}
	if !s.state.alive() {
		return false
	}
	switch m.Kind {
	case Dismissed:
		w.drop(s, ByOperator)
	case Replaced:
		w.drop(s, ByOwnInstance)
	default:
		w.drop(s, BySuccessor)
	}
	if m.Kind != Noted {
		d.end(s)
	}
	return true
}

// find returns the worker's stream of this address, or nil.
func (w *Worker) find(a Address) *Stream {
	for s := range w.in(a.Bucket) {
		if s.Context == a.Context && s.claim == a.Claim && s.life == a.Incarnation {
			return s
		}
	}
	return nil
}

// end names s once.
func (d *Done) end(s *Stream) {
	if !slices.Contains(d.End, s) { // a few hundred at most
		d.End = append(d.End, s)
	}
}
