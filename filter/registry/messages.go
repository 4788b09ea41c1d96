package registry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// tell sends a message to the owner of each stream, and returns how many it has sent. It does not
// try again: if a message is not sent, the self-check of the owner finds the stream.
func (w *Worker) tell(streams []policy.Stream, kind func(policy.Stream) MessageKind, reply Reply) (told int) {
	for _, r := range streams {
		record, held := w.holds(r.Owner)
		if !held || record.Queue == 0 {
			continue
		}
		m := Message{Incarnation: r.Owner.Incarnation, Claim: r.Claim, Context: r.Context, SentAt: w.now, ReplyTo: reply, Kind: kind(r)}
		if w.queues.Enqueue(record.Queue, m.Append(nil)) == nil {
			told++
		}
	}
	return told
}

// gone sends a waiting claim the message that a stream has ended. If the message is lost, the wait
// ends at its limit, see [Stream.Awaits].
func (w *Worker) gone(to Reply) {
	if to.Queue != 0 {
		m := Message{Incarnation: to.Incarnation, Claim: to.Claim, Context: to.Context, SentAt: w.now, Kind: Gone}
		_ = w.queues.Enqueue(to.Queue, m.Append(nil))
	}
}

// Recall makes a later Wake of this worker return s, which belongs to it. It is for work that must
// not be done in the callback that is running. If the wake-up is lost, the next Tick returns s. If
// the message is lost, nothing does.
func (w *Worker) Recall(now int64, s *Stream) error {
	m := Message{Incarnation: s.as.Owner.Incarnation, Claim: s.as.Claim, Context: s.Context, SentAt: now, Kind: Recalled}
	if err := w.queues.Enqueue(w.queue, m.Append(nil)); err != nil {
		return fmt.Errorf("write queue %d: %w", w.queue, err)
	}
	return nil
}

// Remind makes the host call Wake once more, with nothing to return, as soon as the callback that
// is running has returned: for work that is too much for one callback. A wake-up can be lost.
func (w *Worker) Remind(now int64) error {
	m := Message{Incarnation: w.owner.Incarnation, SentAt: now, Kind: Recalled} // of no stream
	if err := w.queues.Enqueue(w.queue, m.Append(nil)); err != nil {
		return fmt.Errorf("write queue %d: %w", w.queue, err)
	}
	return nil
}

// Wake reads the worker's queue. It returns the streams to end, whose [Stream.Why] says why; the
// streams that were recalled; and the streams whose wait is over. now is in milliseconds.
//
// A message names context id, incarnation and claim of a stream. One that was meant for an earlier
// life of the slot therefore finds nothing. If queue is not the worker's any more, Wake leaves its
// messages to the next owner.
func (w *Worker) Wake(now int64, queue uint32) ([]*Stream, error) {
	if queue != w.queue {
		return nil, nil
	}
	w.now = now
	before := w.registered
	end, _, err := w.drain(0, EndsPerCall)
	if w.registered != before {
		w.publish()
	}
	return end, err
}

// drain reads messages until most streams are to be returned. late is how many of the streams that
// lost their place learned it from a message sent before the given time. Each message has its own
// wake-up, so what is left in the queue is read later.
func (w *Worker) drain(before int64, most int) (end []*Stream, late int, err error) {
	for range readPerCall {
		if len(end) >= most {
			break
		}
		value, err := w.queues.Dequeue(w.queue)
		if errors.Is(err, ErrEmpty) {
			return end, late, nil
		}
		if err != nil {
			return end, late, fmt.Errorf("read queue %d: %w", w.queue, err)
		}
		m, err := ParseMessage(value)
		if err != nil {
			w.count(Malformed, 1)
			continue
		}
		s := w.byContext[m.Context]
		if s == nil || s.as.Claim != m.Claim || s.as.Owner.Incarnation != m.Incarnation {
			w.gone(m.ReplyTo) // the stream has ended already
			continue
		}
		switch m.Kind {
		case Recalled:
			end = including(end, s)
			continue
		case Gone:
			if s.awaits--; s.awaits == 0 {
				end = including(end, s)
			}
			continue
		}
		s.replyTo = m.ReplyTo
		if !s.state.alive() {
			continue
		}
		if m.SentAt < before {
			late++
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
			end = including(end, s)
		}
	}
	return end, late, nil
}

// including returns streams with s, which it adds if it is not there. streams has a few hundred
// elements at most.
func including(streams []*Stream, s *Stream) []*Stream {
	if slices.Contains(streams, s) {
		return streams
	}
	return append(streams, s)
}
