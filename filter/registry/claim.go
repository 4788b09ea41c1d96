package registry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Claim registers s, which has just opened, as its client's newest stream, tells the owners of those that have to
// yield to it, and returns these, oldest first. The worker must have joined once. now is in Unix milliseconds. A second
// Claim of the same stream does nothing.
//
// An error says that s is not in the registry yet: [ErrContended], or the store's own. The stream may live all the
// same; the worker's tick finishes the claim.
func (w *Worker) Claim(now int64, s *Stream) (yielding []policy.Stream, err error) {
	if s.state != unclaimed {
		return nil, nil
	}
	s.state = live
	s.index = len(w.streams)
	w.streams = append(w.streams, s)
	w.byContext[s.Context] = s

	var verdict policy.Verdict
	// A worker that was swept may not have got a new slot yet, and without one there is no name to register s under.
	if err = w.Join(); err == nil {
		verdict, err = w.register(now, s)
	}
	if err != nil {
		w.later(s)
		return nil, err
	}
	return verdict.Superseded, nil
}

// register puts s into its client's entry, under the next claim number or under the one it has, and sends the
// messages that follow.
func (w *Worker) register(now int64, s *Stream) (policy.Verdict, error) {
	mine := policy.Stream{Claim: s.as.Claim, Owner: w.owner, Context: s.Context, ClaimedAt: s.as.ClaimedAt}
	if s.as.Claim == 0 {
		mine.ClaimedAt = now
	}
	var verdict policy.Verdict
	var had, orphans int
	err := w.update(w.table.bucket(s.Client), func(b *Bucket) bool {
		if s.as.Claim == 0 {
			mine.Claim = b.Claims + 1
		}
		b.Claims = max(b.Claims, mine.Claim)
		var streams []policy.Stream
		if at, found := b.find(s.Client); found {
			streams = b.Entries[at].Streams
		}
		had = len(streams)
		streams = slices.DeleteFunc(streams, func(r policy.Stream) bool { return s.as.Claim != 0 && r.Is(s.as) })
		streams, orphans = w.withoutOrphans(streams)
		verdict = policy.Decide(streams, mine, s.Limits)
		b.put(s.Client, s.Rule, verdict.Next)
		return true
	})
	if err != nil {
		return policy.Verdict{}, err
	}
	w.count(Swept, orphans)
	if delta := len(verdict.Next) - had; delta != 0 {
		w.meter.Active(s.Rule, delta)
	}
	if verdict.Admitted {
		s.as = mine
	} else {
		s.state = superseded // its own owner need not be told
	}
	w.tell(now, slices.DeleteFunc(slices.Clone(verdict.Superseded), mine.Is), s.Enforce)
	return verdict, nil
}

// tell sends one message to the owner of each superseded stream. A message that cannot be sent is not tried again:
// its stream finds itself out of the registry on its owner's tick.
func (w *Worker) tell(now int64, streams []policy.Stream, enforce bool) {
	for _, r := range streams {
		record, held := w.holds(r.Owner)
		if !held || record.Queue == 0 {
			continue
		}
		m := Message{Incarnation: r.Owner.Incarnation, Claim: r.Claim, Context: r.Context, SentAt: now, Enforce: enforce}
		_ = w.queues.Enqueue(record.Queue, m.Append(nil))
	}
}

// Release takes s, which has ended, out of the registry, unless it was superseded: then its place is another's. It
// reports whether s held its place to the end. On error the worker's tick takes it up again.
func (w *Worker) Release(s *Stream) (held bool, err error) {
	if s.state != live && s.state != superseded {
		return false, nil
	}
	last := len(w.streams) - 1
	w.streams[s.index] = w.streams[last]
	w.streams[s.index].index = s.index
	w.streams[last] = nil
	w.streams = w.streams[:last]
	delete(w.byContext, s.Context)

	held = s.state == live
	s.state = released
	if !held || s.as.Claim == 0 {
		return held, nil
	}
	removed, err := w.unregister(s)
	if err != nil {
		w.later(s)
		return held, err
	}
	return removed, nil
}

// unregister removes exactly the stream that s is registered as.
func (w *Worker) unregister(s *Stream) (removed bool, err error) {
	err = w.update(w.table.bucket(s.Client), func(b *Bucket) bool {
		removed = false
		at, found := b.find(s.Client)
		if !found {
			return false
		}
		streams := b.Entries[at].Streams
		i := slices.IndexFunc(streams, s.as.Is)
		if i < 0 {
			return false
		}
		b.put(s.Client, s.Rule, slices.Delete(streams, i, i+1))
		removed = true
		return true
	})
	if err != nil {
		return false, err
	}
	if removed {
		w.meter.Active(s.Rule, -1)
	}
	return removed, nil
}

// later leaves s to the next ticks.
func (w *Worker) later(s *Stream) {
	if !s.queued {
		s.queued = true
		w.unfinished = append(w.unfinished, s)
		w.count(Contended, 1)
	}
}

// Wake reads the worker's queue and returns the streams to reset. Every message is about a stream that is out of the
// registry; it is looked up among the worker's own by the name it was registered under, so a message that was meant
// for an earlier life of the slot finds nothing. A queue that is not the worker's any more is left to its next owner.
func (w *Worker) Wake(queue uint32) ([]*Stream, error) {
	if queue != w.queue {
		return nil, nil
	}
	end, _, err := w.drain(0, endsPerCall)
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
		if s == nil || s.state != live || s.as.Claim != m.Claim || s.as.Owner.Incarnation != m.Incarnation {
			continue
		}
		s.state = superseded
		if m.SentAt < before {
			late++
		}
		if m.Enforce {
			end = append(end, s)
		}
	}
	return end, late, nil
}

func (w *Worker) count(event Event, n int) {
	if n > 0 {
		w.meter.Count(event, n)
	}
}
