package policy

import "slices"

// This file is the reference for Decide and Return: the same rules, written to be read and not to
// be fast. It shares only the types with the package. Streams are kept in a set by claim number,
// and a token bucket is filled one interval after the other.

// streamSet holds streams by claim number.
type streamSet map[uint64]Stream

func setOf(streams ...Stream) streamSet {
	set := streamSet{}
	for _, s := range streams {
		set[s.Claim] = s
	}
	return set
}

// removeOldest removes and returns the oldest stream.
func (set streamSet) removeOldest() (oldest Stream) {
	for _, s := range set {
		if oldest.Claim == 0 || s.Claim < oldest.Claim {
			oldest = s
		}
	}
	delete(set, oldest.Claim)
	return oldest
}

// drain removes and returns all streams, oldest first.
func (set streamSet) drain() (all []Stream) {
	for len(set) > 0 {
		all = append(all, set.removeOldest())
	}
	return all
}

func (set streamSet) add(s Stream) { set[s.Claim] = s }

func (set streamSet) hasInstance(instance Instance) bool {
	for _, s := range set {
		if s.Instance == instance {
			return true
		}
	}
	return false
}

// referenceDecide is the reference for Decide.
func referenceDecide(s situation) Verdict {
	s.client = referenceAt(s.client, s.now)
	staying, leaving := setOf(s.client.Streams...), streamSet{}
	refused := func(why Refusal, wait Millis) Verdict {
		return Verdict{Next: s.client, Refusal: why, Wait: wait}
	}
	next := s.client
	// takes takes a token of b; false: none is left, for so long.
	takes := func(b TokenBucket, spent *Spent) (wait Millis, ok bool) {
		if b.MaxTokens == 0 {
			return 0, true
		}
		tokens, since := tokensLeft(b, *spent, s.now)
		if tokens == 0 {
			return b.FillInterval - Millis(s.now-since), false
		}
		if tokens == b.MaxTokens {
			since = s.now // the first token taken from a full bucket
		}
		*spent = Spent{Tokens: uint16(b.MaxTokens - tokens + 1), Since: since}
		full := since
		for filled := tokens - 1; filled < b.MaxTokens && full < s.now+int64(Hour); filled += b.TokensPerFill {
			full += int64(b.FillInterval)
		}
		next.Until = max(next.Until, min(full, s.now+int64(Hour)))
		return 0, true
	}

	instance := s.newcomer.Instance
	isReconnect := instance != 0 && staying.hasInstance(instance)
	hasRoom := len(s.client.Streams) < s.limits.MaxStreams
	if isReconnect {
		for _, r := range s.client.Streams {
			if r.Instance == instance {
				leaving.add(r)
				delete(staying, r.Claim)
			}
		}
		if wait, ok := takes(ReconnectLimit, &next.Reconnects); !ok {
			return refused(TakeoverLimit, wait)
		}
	} else if hasRoom {
		if s.full {
			return refused(Overloaded, 0)
		}
	} else {
		for _, lost := range s.client.Superseded {
			if lost == instance {
				return refused(Superseded, 0)
			}
		}
		if s.limits.RejectNew {
			return refused(Duplicate, 0)
		}
		if wait, ok := takes(s.limits.TakeoverLimit, &next.Spent); !ok {
			return refused(TakeoverLimit, wait)
		}
	}

	staying.add(s.newcomer)
	for len(staying) > s.limits.MaxStreams && !s.limits.RejectNew {
		leaving.add(staying.removeOldest())
	}
	superseded := leaving.drain()
	next.Streams, next.MaxStreams = staying.drain(), s.limits.MaxStreams
	next.Superseded = referenceRemember(s.client.Superseded, superseded, next.Streams)
	return Verdict{Next: next, Superseded: superseded}
}

// referenceAt forgets what is over.
func referenceAt(c Client, now int64) Client {
	if c.Until > now {
		return c
	}
	if len(c.Streams) == 0 {
		return Client{}
	}
	return Client{Streams: c.Streams, Superseded: c.Superseded, Spent: c.Spent, Reconnects: c.Reconnects, MaxStreams: c.MaxStreams}
}

// referenceReturn is the reference for Return.
func referenceReturn(s situation) Verdict {
	s.client = referenceAt(s.client, s.now)
	if s.client.Dismissed >= s.newcomer.Claim {
		return Verdict{Next: s.client, Superseded: []Stream{s.newcomer}, Dismissed: true}
	}
	for _, r := range s.client.Streams {
		if r.Claim == s.newcomer.Claim {
			return Verdict{Next: s.client, Superseded: []Stream{s.newcomer}}
		}
	}
	most := s.client.MaxStreams
	if len(s.client.Streams) == 0 || most == 0 {
		most = s.limits.MaxStreams
	}
	all := append(slices.Clone(s.client.Streams), s.newcomer)
	byAge := setOf(all...).drain()
	staying, leaving := streamSet{}, streamSet{}
	for i := len(byAge) - 1; i >= 0; i-- { // the newest stream has precedence
		r := byAge[i]
		instanceStays := r.Instance != 0 && staying.hasInstance(r.Instance)
		if instanceStays || len(staying) == most {
			leaving.add(r)
		} else {
			staying.add(r)
		}
	}
	superseded := leaving.drain()
	next := s.client
	next.Streams, next.MaxStreams = staying.drain(), most
	next.Superseded = referenceRemember(s.client.Superseded, superseded, next.Streams)
	return Verdict{Next: next, Superseded: superseded}
}

// referenceRemember lists the superseded instances: those from before, then those of the superseded
// streams; none that has a stream in next, none twice, and only the last four.
func referenceRemember(before []Instance, superseded, next []Stream) (instances []Instance) {
	all := slices.Clone(before)
	for _, s := range superseded {
		if s.Instance != 0 {
			all = append(all, s.Instance)
		}
	}
	for _, instance := range all {
		if !setOf(next...).hasInstance(instance) && !slices.Contains(instances, instance) {
			instances = append(instances, instance)
		}
	}
	for len(instances) > 4 {
		instances = instances[1:]
	}
	return instances
}

// tokensLeft adds the fills from the last one until now, one by one. It returns how many tokens are
// in the bucket and when it was last filled.
func tokensLeft(b TokenBucket, spent Spent, now int64) (tokens int, filled int64) {
	tokens = b.MaxTokens
	for range spent.Tokens {
		if tokens > 0 {
			tokens--
		}
	}
	filled = spent.Since
	if now < filled-1000 { // a time that no clock can have shown: one fill
		return min(tokens+b.TokensPerFill, b.MaxTokens), now
	}
	for next := filled + int64(b.FillInterval); next <= now && tokens < b.MaxTokens; next += int64(b.FillInterval) {
		tokens = min(tokens+b.TokensPerFill, b.MaxTokens)
		filled = next
	}
	return tokens, filled
}
