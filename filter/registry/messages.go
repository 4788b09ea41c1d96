package registry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// tell sends one message to the owner of each stream, and returns how many it has sent. A message that cannot be sent is
// not tried again: its stream finds itself out of the registry on its owner's tick.
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

// gone tells a claim that waits for it that a stream has ended. If that is lost, the claim does not wait for ever.
func (w *Worker) gone(to Reply) {
	if to.Queue != 0 {
		m := Message{Incarnation: to.Incarnation, Claim: to.Claim, Context: to.Context, SentAt: w.now, Kind: Gone}
		_ = w.queues.Enqueue(to.Queue, m.Append(nil))
	}
}

// Recall makes a later Wake of this worker return s, which it holds: what must not be done in the callback that is
// running can be done in that one. If the wake-up is lost, it does not come.
func (w *Worker) Recall(now int64, s *Stream) error {
	m := Message{Incarnation: s.as.Owner.Incarnation, Claim: s.as.Claim, Context: s.Context, SentAt: now, Kind: Recalled}
	if err := w.queues.Enqueue(w.queue, m.Append(nil)); err != nil {
		return fmt.Errorf("write queue %d: %w", w.queue, err)
	}
	return nil
}

// Wake reads the worker's queue and returns the streams to end, of which Why tells why, those that were recalled, and
// those whose wait is over.
// A message about a stream looks it up among the worker's own by the name it was registered under, so one that was
// meant for an earlier life of the slot finds nothing. A queue that is not the worker's any more is left to its next
// owner. now is in Unix milliseconds.
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

// drain is Wake. Of the messages that name a live stream, those sent before the given time are counted. Each message
// has its own wake-up, so what is left over when there are very many is not forgotten.
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
			w.gone(m.ReplyTo) // it has ended by itself
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
			w.drop(s, ByItself)
		default:
			w.drop(s, BySuccessor)
		}
		if m.Kind != Noted {
			end = including(end, s)
		}
	}
	return end, late, nil
}

// including returns streams, a few hundred at most, with s once.
func including(streams []*Stream, s *Stream) []*Stream {
	if slices.Contains(streams, s) {
		return streams
	}
	return append(streams, s)
}
