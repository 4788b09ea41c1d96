package policy

import (
	"slices"
)

// Decide and Return as one would tell them, sentence by sentence. Nothing here is shared with the package but its
// types, and nothing is clever: streams go into a box by claim number and are taken out of it, and a token bucket is
// filled one interval after the other.

// box holds streams by claim number.
type box map[uint64]Stream

func boxed(streams ...Stream) box {
	b := box{}
	for _, s := range streams {
		b[s.Claim] = s
	}
	return b
}

// oldest takes the oldest stream out.
func (b box) oldest() (oldest Stream) {
	for _, s := range b {
		if oldest.Claim == 0 || s.Claim < oldest.Claim {
			oldest = s
		}
	}
	delete(b, oldest.Claim)
	return oldest
}

// list takes all streams out, oldest first.
func (b box) list() (all []Stream) {
	for len(b) > 0 {
		all = append(all, b.oldest())
	}
	return all
}

func (b box) put(s Stream) { b[s.Claim] = s }

func (b box) knows(instance Instance) bool {
	for _, s := range b {
		if s.Instance == instance {
			return true
		}
	}
	return false
}

// tale tells what happens to a newcomer.
func tale(s situation) Verdict {
	inside, outside := boxed(s.client.Streams...), box{}
	refused := func(why Refusal, wait Millis) Verdict {
		return Verdict{Next: s.client, Refusal: why, Wait: wait}
	}
	spent := s.client.Spent

	page := s.newcomer.Instance
	isReconnect := page != 0 && inside.knows(page)
	hasRoom := len(s.client.Streams) < s.limits.MaxStreams
	if isReconnect {
		for _, r := range s.client.Streams {
			if r.Instance == page {
				outside.put(r)
				delete(inside, r.Claim)
			}
		}
	} else if hasRoom {
		if s.full {
			return refused(Overloaded, 0)
		}
	} else {
		for _, lost := range s.client.Superseded {
			if lost == page {
				return refused(Superseded, 0)
			}
		}
		if s.limits.RejectNew {
			return refused(Duplicate, 0)
		}
		if size := s.limits.TakeoverLimit.MaxTokens; size > 0 {
			tokens, since := tokensLeft(s.limits.TakeoverLimit, spent, s.now)
			if tokens == 0 {
				return refused(TakeoverLimit, s.limits.TakeoverLimit.FillInterval-Millis(s.now-since))
			}
			if tokens == size {
				since = s.now // the first one out of a full bucket
			}
			spent = Spent{Tokens: uint16(size - tokens + 1), Since: since}
		}
	}

	inside.put(s.newcomer)
	for len(inside) > s.limits.MaxStreams && !s.limits.RejectNew {
		outside.put(inside.oldest())
	}
	stay, go_ := inside.list(), outside.list()
	return Verdict{Next: Client{stay, lostPages(s.client.Superseded, go_, stay), spent}, Superseded: go_}
}

// returnTale tells what happens when a stream comes back.
func returnTale(s situation) Verdict {
	for _, r := range s.client.Streams {
		if r.Claim == s.newcomer.Claim {
			return Verdict{Next: s.client, Superseded: []Stream{s.newcomer}}
		}
	}
	everybody := append(slices.Clone(s.client.Streams), s.newcomer)
	byAge := boxed(everybody...).list()
	inside, outside := box{}, box{}
	for i := len(byAge) - 1; i >= 0; i-- { // the newest may choose first
		r := byAge[i]
		pageIsThere := r.Instance != 0 && inside.knows(r.Instance)
		if pageIsThere || len(inside) == s.limits.MaxStreams {
			outside.put(r)
		} else {
			inside.put(r)
		}
	}
	stay, go_ := inside.list(), outside.list()
	return Verdict{Next: Client{stay, lostPages(s.client.Superseded, go_, stay), s.client.Spent}, Superseded: go_}
}

// lostPages are those that had lost their place, and those that lose it now; but none that is there; and only the last
// four.
func lostPages(before []Instance, gone, there []Stream) (lost []Instance) {
	all := slices.Clone(before)
	for _, r := range gone {
		if r.Instance != 0 {
			all = append(all, r.Instance)
		}
	}
	for _, page := range all {
		if !boxed(there...).knows(page) && !slices.Contains(lost, page) {
			lost = append(lost, page)
		}
	}
	for len(lost) > 4 {
		lost = lost[1:]
	}
	return lost
}

// tokensLeft plays the time from the last fill until now, and returns what is in the bucket and when it was last
// filled.
func tokensLeft(b TokenBucket, spent Spent, now int64) (tokens int, filled int64) {
	tokens = b.MaxTokens
	for range spent.Tokens {
		if tokens > 0 {
			tokens--
		}
	}
	filled = spent.Since
	if now < filled { // a clock that was set back fills once
		return min(tokens+b.TokensPerFill, b.MaxTokens), now
	}
	for next := filled + int64(b.FillInterval); next <= now && tokens < b.MaxTokens; next += int64(b.FillInterval) {
		tokens = min(tokens+b.TokensPerFill, b.MaxTokens)
		filled = next
	}
	return tokens, filled
}
