package registry

import (
	"cmp"
	"errors"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Peek returns the verdict that Claim would give on s now, and changes nothing. The worker must
// have joined once. now is in milliseconds.
func (w *Worker) Peek(now int64, s *Stream) (policy.Verdict, error) {
	w.now = now
	n := w.table.bucket(s.Client)
	cas, malformed, err := w.look(bucketKey(n))
	if err != nil {
		return policy.Verdict{}, err
	}
	client, _ := w.withoutOrphans(w.bucket.client(s.Client))
	newcomer := policy.Stream{Claim: s.claimNumber(&w.bucket), Owner: w.owner, Context: s.Context, ClaimedAt: now, Instance: s.Instance}
	verdict := w.decide(client, newcomer, s.Limits, false)
	if w.maxTotal > 0 && verdict.Refusal == 0 && len(verdict.Next.Streams) > len(client.Streams) {
		others, err := w.othersTotal()
		if err != nil {
			return policy.Verdict{}, err
		}
		if others+w.totalWith(s) > w.maxTotal {
			verdict = w.decide(client, newcomer, s.Limits, true)
		}
	}
	if verdict.Refusal == 0 && !malformed {
		w.peeked.put(n, cas, &w.bucket)
	}
	return verdict, nil
}

// decide is [policy.Decide], but nobody is refused for the sake of streams whose workers are
// silent: a worker that has crashed is not known to be dead for some seconds. If one of them lives
// after all, the newcomer supersedes its stream.
func (w *Worker) decide(client policy.Client, newcomer policy.Stream, limits *policy.Limits, full bool) policy.Verdict {
	verdict := policy.Decide(client, newcomer, *limits, full, w.now)
	if verdict.Refusal != policy.Duplicate && verdict.Refusal != policy.Superseded {
		return verdict
	}
	heard := client
	heard.Streams = slices.DeleteFunc(slices.Clone(client.Streams), w.silent)
	if len(heard.Streams) == len(client.Streams) {
		return verdict
	}
	without := policy.Decide(heard, newcomer, *limits, full, w.now)
	if without.Refusal != 0 {
		return verdict
	}
	for _, s := range client.Streams {
		if !slices.ContainsFunc(without.Next.Streams, s.Is) && !slices.ContainsFunc(without.Superseded, s.Is) {
			without.Superseded = append(without.Superseded, s)
		}
	}
	return without
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
	if w.table == (Table{}) { // the registry was never reached
		return policy.Verdict{}, err
	}
	w.add(s)
	if err != nil {
		w.later(s, Pending, err)
		return policy.Verdict{}, err
	}
	return verdict, nil
}

// register gives s the next claim number of its bucket and a place in its client's entry, and tells
// the owners of the streams that yield.
func (w *Worker) register(s *Stream) (policy.Verdict, error) {
	defer w.retractRest()
	mine := policy.Stream{Owner: w.owner, Context: s.Context, ClaimedAt: w.now, Instance: s.Instance}
	var verdict policy.Verdict
	var had, orphans int
	var room room
	err := w.update(w.table.bucket(s.Client), func(b *Bucket) bool {
		client := b.client(s.Client)
		had = len(client.Streams)
		client, orphans = w.withoutOrphans(client)
		mine.Claim = s.claimNumber(b)
		for slices.ContainsFunc(client.Streams, func(r policy.Stream) bool { return r.Claim == mine.Claim }) {
			mine.Claim++ // a stamp, by an unlikely chance
		}
		verdict = w.decide(client, mine, s.Limits, false)
		if verdict.Refusal == 0 && w.maxTotal > 0 {
			room.reserve(w, s)
			if adds := len(verdict.Next.Streams) > len(client.Streams); adds && room.over(w, s) {
				verdict = w.decide(client, mine, s.Limits, true)
			}
		}
		if verdict.Refusal != 0 || room.err != nil {
			return false
		}
		w.announce(verdict.Superseded)
		b.Claims = max(b.Claims, mine.Claim)
		// A stamp need not be the largest: one of the same millisecond may have come in since it
		// was chosen.
		slices.SortFunc(verdict.Next.Streams, func(a, b policy.Stream) int { return cmp.Compare(a.Claim, b.Claim) })
		b.put(s.Client, s.Rule, verdict.Next)
		return true
	})
	w.unexpect(s)
	if err = errors.Join(err, room.err); err != nil || verdict.Refusal != 0 {
		return verdict, errors.Join(err, room.giveBack(w))
	}
	s.registerAs(mine)
	w.registered++
	w.countChange(s.Rule, len(verdict.Next.Streams)-had, orphans)
	w.supersede(s, verdict.Superseded)
	return verdict, nil
}

// claimNumber returns the number of the next claim in the bucket. A stream of a fleet brings its
// own.
func (s *Stream) claimNumber(b *Bucket) uint64 {
	if s.Stamp != 0 {
		return s.Stamp
	}
	return b.Claims + 1
}

// Place puts s into the registry under its Stamp, because the fleet has let it in: nobody is asked,
// and the newest streams stay, see [policy.Return]. The streams that yield in this Envoy are told.
// If newer ones have its place, [Stream.Why] says so. Otherwise memory, which the fleet has of the
// client, takes the place of the registry's: it counts as soon as this Envoy has to decide alone.
// Done is about other streams of the worker, which the visit of the bucket has mended. The worker
// must have joined once. now, and the times in memory, are in milliseconds.
//
// An error says that s is not in the registry yet. The worker's tick tries again, without memory.
func (w *Worker) Place(now int64, s *Stream, memory policy.Memory) (Done, error) {
	var d Done
	if s.state != Unclaimed {
		return d, nil
	}
	w.now = now
	err := w.Join(now)
	if w.table == (Table{}) { // the registry was never reached
		return d, err
	}
	s.state, s.claim, s.claimedAt = Returning, s.Stamp, now
	w.add(s)
	w.unexpect(s)
	w.registered++
	n := w.table.bucket(s.Client)
	if err == nil {
		w.placed, w.memory = s, memory
		_, err = w.visit(n, &d)
		w.placed, w.memory = nil, policy.Memory{}
	}
	if err != nil {
		w.suspects = append(w.suspects, n)
	}
	d.End = slices.DeleteFunc(d.End, func(other *Stream) bool { return other == s })
	d.Claimed = slices.DeleteFunc(d.Claimed, func(late Late) bool { return late.Stream == s })
	w.publish()
	return d, err
}

// Newest returns the largest claim number among a client's streams; 0 if it has none. The worker
// must have joined once.
func (w *Worker) Newest(id ClientID) (claim uint64, err error) {
	if _, _, err := w.look(bucketKey(w.table.bucket(id))); err != nil {
		return 0, err
	}
	for _, s := range w.bucket.client(id).Streams {
		claim = max(claim, s.Claim)
	}
	return claim, nil
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
		reply = Reply{Queue: w.queue, Address: w.address(s)}
	}
	told := w.tell(w.table.bucket(s.Client), yielding, func(yields policy.Stream) MessageKind {
		switch {
		case !s.Enforce:
			return Noted
		case yields.Instance != 0 && yields.Instance == s.Instance:
			return Replaced
		}
		return Yield
	}, reply)
	if waits {
		s.awaits = uint8(told) // at most policy.MaxStreams
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
// error this is not known yet; a tick tries again, and reports the stream in [Done].Released.
func (w *Worker) Release(s *Stream) (held bool, err error) {
	if !s.state.alive() && s.state != Out {
		return false, nil
	}
	w.remove(s)
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
		if removed = slices.ContainsFunc(client.Streams, s.is); removed {
			b.put(s.Client, s.Rule, client.Without(s.is, w.now))
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

// Dismiss removes all streams of a client of this rule from the registry, tells their owners to end
// them, and returns how many they were. None of them comes back, even if its worker was taken for
// dead, before or after: see [policy.Return]. The worker must have read the table, see
// [Worker.Open]. now is in milliseconds.
func (w *Worker) Dismiss(now int64, id ClientID, rule RuleID) (n int, err error) {
	w.now = now
	var dismissed []policy.Stream
	var had int
	defer w.retractRest()
	err = w.update(w.table.bucket(id), func(b *Bucket) bool {
		client := b.client(id)
		had = len(client.Streams)
		client, _ = w.withoutOrphans(client)
		dismissed = client.Streams
		if had == 0 && b.Claims == 0 {
			return false // no stream was ever in this bucket
		}
		w.announce(dismissed)
		b.put(id, rule, client.Dismiss(newestOf(client, b.Claims), w.now))
		return true
	})
	if err != nil || had == 0 {
		return 0, err
	}
	w.countChange(rule, -had, had-len(dismissed))
	w.tell(w.table.bucket(id), dismissed, func(policy.Stream) MessageKind { return Dismissed }, Reply{})
	return len(dismissed), nil
}

// newestOf returns the claim number up to which a client's streams are dismissed: the last of the
// bucket. But a stamp that another client's stream has brought may be of a clock that is ahead. A
// newer stream of this client may then have a smaller one, and must not be dismissed with the
// others.
func newestOf(client policy.Client, claims uint64) uint64 {
	const firstStamp = 1 << 60 // in the year 1978; no bucket counts so far
	if n := len(client.Streams); n > 0 && client.Streams[n-1].Claim >= firstStamp {
		return client.Streams[n-1].Claim
	}
	return claims
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
