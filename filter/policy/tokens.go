package policy

import (
	"math"
)

// TokenBucket limits how often something may happen, in the words of Envoy's type.v3.TokenBucket: it holds up to
// MaxTokens and gets TokensPerFill more every FillInterval.
type TokenBucket struct {
	MaxTokens     int // up to [MaxTokens]; 0: no limit
	TokensPerFill int
	FillInterval  Millis
}

// MaxTokens is the largest size of a TokenBucket.
const MaxTokens = 10_000

// Spent is how far a [TokenBucket] is from being full. What is missing is kept, and not what is left, so that nothing
// has to be stored of a bucket that is full, and a new configuration holds from the next token on.
type Spent struct {
	Tokens uint16
	Since  int64 // of the last fill, or the first token taken from a full bucket, in Unix milliseconds; 0 if Tokens is 0
}

// take takes one token out of the bucket at the time of now; or says how long to wait for the next one.
func (s Spent) take(b TokenBucket, now int64) (left Spent, wait Millis) {
	if b.MaxTokens == 0 {
		return s, 0
	}
	s = s.filled(b, now)
	if int(s.Tokens) >= b.MaxTokens {
		return s, max(1, b.FillInterval-Millis(now-s.Since))
	}
	if s.Tokens == 0 {
		s.Since = now
	}
	s.Tokens++
	return s, 0
}

// filled adds the fills that are due. A bucket that has become smaller since is empty, and no more than that.
func (s Spent) filled(b TokenBucket, now int64) Spent {
	if s.Tokens == 0 {
		return Spent{}
	}
	s.Tokens = uint16(min(int(s.Tokens), b.MaxTokens))
	interval := max(1, int64(b.FillInterval))
	if now-s.Since < 0 {
		// The clock was set back. That this interval begins anew would not be kept after a refusal, and the client be
		// locked out until the clock is where it was: so it ends here.
		s.Since = now - interval
	}
	fills := (now - s.Since) / interval
	if fills > math.MaxUint16 || fills*int64(b.TokensPerFill) >= int64(s.Tokens) {
		return Spent{}
	}
	s.Tokens -= uint16(fills * int64(b.TokensPerFill))
	s.Since += fills * interval
	return s
}
