package registry

import (
	"errors"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Peek returns the verdict that Claim would give on s now, and changes nothing. The worker must
// have joined once. now is in milliseconds.
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

// Claim writes s into the registry as its client's newest stream, and sends a message to the owners
// of the streams that yield to it; the verdict names those streams. If the verdict is a refusal,
// nothing has changed, and s does not belong to the worker. A second Claim of the same stream does
// nothing. The worker must have joined once. now is in milliseconds.
//
// An error says that s is not in the registry yet: [ErrContended], or the store's own error. The
// stream may live all the same, and the worker's tick tries the claim again. A caller that refuses
// the stream instead must call Release at once.
func (w *Worker) Claim(now int64, s *Stream) (policy.Verdict, error) {
	if s.state != Unclaimed {
		return policy.Verdict{}, nil
	}
	w.now = now
	var verdict policy.Verdict
	// A worker that was swept may not have a new slot yet. Without a slot there is no name for
	// s.
	err := w.Join(now)
	if err == nil {
		verdict, err = w.register(s)
	}
	if verdict.Refusal != 0 {
		return verdict, nil
	}
	s.index = len(w.streams)
	w.streams = append(w.streams, s)
	w.byContext[s.Context] = s
	if err != nil {
		w.later(s, Pending, err)
		return policy.Verdict{}, err
	}
	return verdict, nil
}

// register gives s the next claim number of its bucket and a place in its client's entry, and tells
// the owners of the streams that yield.
func (w *Worker) register(s *Stream) (policy.Verdict, error) {
	mine := policy.Stream{Owner: w.owner, Context: s.Context, ClaimedAt: w.now, Instance: s.Instance}
	var verdict policy.Verdict
	var had, orphans int
	var room room
	err := w.update(w.table.bucket(s.Client), func(b *Bucket) bool {
		client := b.client(s.Client)
		had = len(client.Streams)
		client.Streams, orphans = w.withoutOrphans(client.Streams)
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
		b.put(s.Client, s.Rule, verdict.Next)
		return true
	})
	if err = errors.Join(err, room.err); err != nil || verdict.Refusal != 0 {
		return verdict, errors.Join(err, room.giveBack(w))
	}
	s.as, s.state = mine, Registered
	w.registered++
	w.countChange(s.Rule, len(verdict.Next.Streams)-had, orphans)
	w.supersede(s, verdict.Superseded)
	return verdict, nil
}

// putBack registers s again, under the number of its first claim: other workers declared this one
// dead and removed its streams. If newer streams have taken the place since, s itself is among
// those that yield, and is out.
func (w *Worker) putBack(s *Stream) (policy.Verdict, error) {
	mine := s.as
	mine.Owner = w.owner
	var verdict policy.Verdict
	var had, orphans int
	err := w.update(w.table.bucket(s.Client), func(b *Bucket) bool {
		client := b.client(s.Client)
		had = len(client.Streams)
		client.Streams = slices.DeleteFunc(client.Streams, s.as.Is) // its old name, if nobody has removed it yet
		client.Streams, orphans = w.withoutOrphans(client.Streams)
		b.Claims = max(b.Claims, mine.Claim)
		verdict = policy.Return(client, mine, s.Limits)
		b.put(s.Client, s.Rule, verdict.Next)
		return true
	})
	if err != nil {
		return verdict, err
	}
	w.countChange(s.Rule, len(verdict.Next.Streams)-had, orphans)
	if slices.ContainsFunc(verdict.Superseded, mine.Is) {
		w.drop(s, BySuccessor)
	} else {
		s.as, s.state = mine, Registered
	}
	others := slices.DeleteFunc(slices.Clone(verdict.Superseded), mine.Is)
	w.supersede(s, others)
	return verdict, nil
}

// countChange counts the change that a write of one entry made.
func (w *Worker) countChange(rule RuleID, delta, orphans int) {
	w.count(Swept, orphans)
	if delta != 0 {
		w.meter.Active(rule, delta)
	}
}

// supersede tells the owners of the streams that yield to s. If s waits for their ends, it awaits
// as many as were told.
func (w *Worker) supersede(s *Stream, yielding []policy.Stream) {
	var reply Reply
	waits := s.Wait && s.Enforce && s.state == Registered
	if waits {
		reply = Reply{Queue: w.queue, Incarnation: w.owner.Incarnation, Claim: s.as.Claim, Context: s.Context}
	}
	told := w.tell(yielding, func(yields policy.Stream) MessageKind {
		switch {
		case !s.Enforce:
			return Noted
		case yields.Instance != 0 && yields.Instance == s.Instance:
			return Replaced
		}
		return Yield
	}, reply)
	if waits {
		s.awaits = told
	}
}

// drop notes that s has lost its place, and why.
func (w *Worker) drop(s *Stream, why Why) {
	if s.state.counted() {
		w.registered--
	}
	s.state, s.why = Out, why
}

// Release ends what the worker knows of s. If s still has its place in the registry, it removes s
// there, and nothing else (release by name). held reports whether s had its place to the end. On
// error this is not known yet; a tick tries again, and reports the stream in [Ticked].Released.
func (w *Worker) Release(s *Stream) (held bool, err error) {
	if !s.state.alive() && s.state != Out {
		return false, nil
	}
	last := len(w.streams) - 1
	w.streams[s.index] = w.streams[last]
	w.streams[s.index].index = s.index
	w.streams[last] = nil
	w.streams = w.streams[:last]
	delete(w.byContext, s.Context)

	w.gone(s.replyTo)
	if !s.state.counted() {
		s.state = Released
		return false, nil
	}
	w.registered--
	removed, err := w.unregister(s)
	if err != nil {
		w.later(s, Releasing, err)
		return false, err
	}
	s.state = Released
	w.publish()
	return removed, nil
}

// unregister removes the stream that s is registered as, if it is there.
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

// Dismiss removes all streams of a client from the registry, tells their owners to end them, and
// returns how many they were. The worker must have read the table, see [Worker.Open]. now is in
// milliseconds.
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
	w.countChange(rule, -had, had-len(dismissed))
	w.tell(dismissed, func(policy.Stream) MessageKind { return Dismissed }, Reply{})
	return len(dismissed), nil
}

// later leaves s to the next ticks, because a write failed. state is Pending or Releasing.
func (w *Worker) later(s *Stream, state State, failed error) {
	if !s.state.unfinished() { // otherwise it is in the list already
		w.unfinished = append(w.unfinished, s)
	}
	s.state = state
	if errors.Is(failed, ErrContended) {
		w.count(Contended, 1)
	}
}

func (w *Worker) count(event Event, n int) {
	if n > 0 {
		w.meter.Count(event, n)
	}
}
