package policy

import "math"

// TokenBucket limits how often something may happen. It holds up to MaxTokens and gets
// TokensPerFill more every FillInterval, like Envoy's envoy.type.v3.TokenBucket.
type TokenBucket struct {
	MaxTokens     int // up to [MaxTokens]; 0: no limit
	TokensPerFill int
	FillInterval  Millis
}

// MaxTokens is the largest size of a TokenBucket.
const MaxTokens = 10_000

// maxLag is how much earlier than another worker one may have read the clock, in milliseconds: a
// callback reads it once, at its beginning.
const maxLag = 1000

// Spent counts the tokens that are missing from a [TokenBucket].
//
// The registry keeps what is missing, not what is left. So it stores nothing for a full bucket, and
// a new configuration takes effect with the next token.
type Spent struct {
	Tokens uint16
	// Since is when the bucket was last filled, or, if no fill was due since, when the first token
	// was taken from the full bucket. Milliseconds; 0 if Tokens is 0.
	Since int64
}

// take takes one token from bucket b at time now. If none is left, it returns how long it takes
// until the next fill, at least 1 ms.
func (s Spent) take(b TokenBucket, now int64) (after Spent, wait Millis) {
	if b.MaxTokens == 0 {
		return s, 0
	}
	s = s.fill(b, now)
	if int(s.Tokens) >= b.MaxTokens {
		return s, max(1, b.FillInterval-Millis(now-s.Since))
	}
	if s.Tokens == 0 {
		s.Since = now
	}
	s.Tokens++
	return s, 0
}

// fullAt returns when bucket b is full again, but at most [MaxMemory] after now.
func (s Spent) fullAt(b TokenBucket, now int64) int64 {
	if s.Tokens == 0 || b.MaxTokens == 0 {
		return 0
	}
	perFill := max(1, int64(b.TokensPerFill))
	fills := (int64(s.Tokens) + perFill - 1) / perFill
	interval := max(1, int64(b.FillInterval))
	if fills > int64(MaxMemory)/interval {
		return now + int64(MaxMemory)
	}
	return min(s.Since+fills*interval, now+int64(MaxMemory))
}

// fill adds the fills that were due until now. If the configuration has made the bucket smaller
// than what was spent, the bucket counts as empty.
func (s Spent) fill(b TokenBucket, now int64) Spent {
	if s.Tokens == 0 {
		return Spent{}
	}
	s.Tokens = uint16(min(int(s.Tokens), b.MaxTokens))
	interval := max(1, int64(b.FillInterval))
	if now-s.Since < -maxLag {
		// No clock can have shown this. One fill is added, and a new interval starts now. It would
		// not help to start the interval without a fill: a refusal does not store the new start, so
		// the client would stay locked out until the clock reaches the old start.
		s.Since = now - interval
	}
	fills := max(0, now-s.Since) / interval
	if fills > math.MaxUint16 || fills*int64(b.TokensPerFill) >= int64(s.Tokens) {
		return Spent{}
	}
	s.Tokens -= uint16(fills * int64(b.TokensPerFill))
	s.Since += fills * interval
	return s
}
