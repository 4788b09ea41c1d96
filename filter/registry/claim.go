package registry

import (
	"errors"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Peek says what Claim would do with s now, and does nothing. The worker must have joined once. now is in Unix
// milliseconds.
func (w *Worker) Peek(now int64, s *Stream) (policy.Verdict, error) {
	w.now = now
	if _, _, err := w.look(bucketKey(w.table.bucket(s.Client))); err != nil {
		return policy.Verdict{}, err
	}
	client := w.bucket.client(s.Client)
	client.Streams, _ = w.withoutOrphans(client.Streams)
	newcomer := policy.Stream{Claim: w.bucket.Claims + 1, Owner: w.owner, Context: s.Context, ClaimedAt: now, Instance: s.Instance}
	verdict := policy.Decide(client, newcomer, s.Limits, false, now)
	if w.maxTotal > 0 && verdict.Refusal == 0 && len(verdict.Next.Streams) > len(client.Streams) {
		others, err := w.othersTotal()
		if err != nil {
			return policy.Verdict{}, err
		}
		if others+w.registered >= w.maxTotal {
			verdict = policy.Decide(client, newcomer, s.Limits, true, now)
		}
	}
	return verdict, nil
}

// Claim registers s, which opens, as its client's newest stream, and tells the owners of those that yield to it; the
// verdict names them. If it refuses s, nothing has changed, and s is not the worker's. The worker must have joined
// once. now is in Unix milliseconds. A second Claim of the same stream does nothing.
//
// An error says that s is not in the registry yet: [ErrContended], or the store's own. The stream may live all the
// same; the worker's tick finishes the claim. Or it is refused for that: then it must be released at once.
func (w *Worker) Claim(now int64, s *Stream) (policy.Verdict, error) {
	if s.state != unclaimed {
		return policy.Verdict{}, nil
	}
	w.now = now
	var verdict policy.Verdict
	// A worker that was swept may not have got a new slot yet, and without one there is no name to register s under.
	err := w.Join(now)
	if err == nil {
		verdict, err = w.register(s)
	}
	if verdict.Refusal != 0 {
		return verdict, nil
	}
	s.state = live
	s.index = len(w.streams)
	w.streams = append(w.streams, s)
	w.byContext[s.Context] = s
	if err != nil {
		w.later(s, err)
		return policy.Verdict{}, err
	}
	return verdict, nil
}

// register puts s into its client's entry, under the next claim number or under the one it has, and sends the
// messages that follow. A stream that returns may find that it has to yield itself: it is out then.
func (w *Worker) register(s *Stream) (policy.Verdict, error) {
	mine := policy.Stream{Claim: s.as.Claim, Owner: w.owner, Context: s.Context, ClaimedAt: s.as.ClaimedAt, Instance: s.Instance}
	returns := s.as.Claim != 0
	if !returns {
		mine.ClaimedAt = w.now
	}
	var verdict policy.Verdict
	var had, orphans int
	var room room
	err := w.update(w.table.bucket(s.Client), func(b *Bucket) bool {
		client := b.client(s.Client)
		had = len(client.Streams)
		if returns { // its old name is not an orphan, but its own
			client.Streams = slices.DeleteFunc(client.Streams, s.as.Is)
		}
		client.Streams, orphans = w.withoutOrphans(client.Streams)
		if returns {
			b.Claims = max(b.Claims, mine.Claim)
			verdict = policy.Return(client, mine, s.Limits)
		} else {
			mine.Claim = b.Claims + 1
			verdict = policy.Decide(client, mine, s.Limits, false, w.now)
			if verdict.Refusal == 0 && w.maxTotal > 0 {
				room.reserve(w)
				if adds := len(verdict.Next.Streams) > len(client.Streams); adds && room.over(w) {
					verdict = policy.Decide(client, mine, s.Limits, true, w.now)
				}
			}
			if verdict.Refusal != 0 || room.err != nil {
				return false
			}
			b.Claims = mine.Claim
		}
		b.put(s.Client, s.Rule, verdict.Next)
		return true
	})
	if err = errors.Join(err, room.err); err != nil || verdict.Refusal != 0 {
		return verdict, errors.Join(err, room.giveBack(w))
	}
	w.count(Swept, orphans)
	if delta := len(verdict.Next.Streams) - had; delta != 0 {
		w.meter.Active(s.Rule, delta)
	}
	if slices.ContainsFunc(verdict.Superseded, mine.Is) {
		w.drop(s, BySuccessor) // its own owner need not be told
	} else {
		s.as = mine
		if !returns {
			w.registered++
		}
	}
	var reply Reply
	if s.Wait && s.Enforce && s.state != out {
		reply = Reply{Queue: w.queue, Incarnation: w.owner.Incarnation, Claim: mine.Claim, Context: s.Context}
	}
	told := w.tell(slices.DeleteFunc(slices.Clone(verdict.Superseded), mine.Is), func(yields policy.Stream) MessageKind {
		switch {
		case !s.Enforce:
			return Noted
		case yields.Instance != 0 && yields.Instance == s.Instance:
			return Replaced
		}
		return Yield
	}, reply)
	if reply != (Reply{}) {
		s.awaits = told
	}
	return verdict, nil
}

// drop notes that s, which is live, has no place any more.
func (w *Worker) drop(s *Stream, why Why) {
	if s.as.Claim != 0 {
		w.registered--
	}
	s.state, s.why = out, why
}

// Release takes s, which has ended, out of the registry, unless it has no place there any more: then that is another's.
// It reports whether s held its place to the end. On error that is not known yet; the worker's tick takes it up again.
func (w *Worker) Release(s *Stream) (held bool, err error) {
	if s.state != live && s.state != out {
		return false, nil
	}
	last := len(w.streams) - 1
	w.streams[s.index] = w.streams[last]
	w.streams[s.index].index = s.index
	w.streams[last] = nil
	w.streams = w.streams[:last]
	delete(w.byContext, s.Context)

	had := s.state == live && s.as.Claim != 0
	s.state = released
	w.gone(s.replyTo)
	if !had {
		return false, nil
	}
	w.registered--
	removed, err := w.unregister(s)
	if err != nil {
		w.later(s, err)
		return false, err
	}
	w.publish()
	return removed, nil
}

// unregister removes exactly the stream that s is registered as.
func (w *Worker) unregister(s *Stream) (removed bool, err error) {
	err = w.update(w.table.bucket(s.Client), func(b *Bucket) bool {
		client := b.client(s.Client)
		i := slices.IndexFunc(client.Streams, s.as.Is)
		if removed = i >= 0; removed {
			client.Streams = slices.Delete(client.Streams, i, i+1)
			b.put(s.Client, s.Rule, client)
		}
		return removed
	})
	if err != nil {
		return false, err
	}
	if removed {
		w.meter.Active(s.Rule, -1)
	}
	return removed, nil
}

// Dismiss takes all streams of a client out of the registry, tells their owners to end them, and returns how many there
// were. The worker must have read the table once, see [Worker.Open]. now is in Unix milliseconds.
func (w *Worker) Dismiss(now int64, id ClientID) (n int, err error) {
	w.now = now
	var rule RuleID
	var dismissed []policy.Stream
	var had int
	err = w.update(w.table.bucket(id), func(b *Bucket) bool {
		at, found := b.find(id)
		if !found {
			had, dismissed = 0, nil
			return false
		}
		rule, had = b.Entries[at].Rule, len(b.Entries[at].Streams)
		dismissed, _ = w.withoutOrphans(slices.Clone(b.Entries[at].Streams))
		b.put(id, rule, policy.Client{})
		return true
	})
	if err != nil || had == 0 {
		return 0, err
	}
	w.count(Swept, had-len(dismissed))
	w.meter.Active(rule, -had)
	w.tell(dismissed, func(policy.Stream) MessageKind { return Dismissed }, Reply{})
	return len(dismissed), nil
}

// later leaves s, of which something has failed, to the next ticks.
func (w *Worker) later(s *Stream, failed error) {
	if !s.queued {
		s.queued = true
		w.unfinished = append(w.unfinished, s)
	}
	if errors.Is(failed, ErrContended) {
		w.count(Contended, 1)
	}
}

func (w *Worker) count(event Event, n int) {
	if n > 0 {
		w.meter.Count(event, n)
	}
}
