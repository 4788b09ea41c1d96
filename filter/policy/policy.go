// Package policy decides what happens when a client opens an event stream: who may stay and who yields.
//
// It is the pure core of the filter. An entry and a newcomer go in, a verdict and the next entry come out; there is
// no clock, no store and no host here, so the same decision serves Envoy's shared data, a test's plain map and a
// search of every small state.
package policy

import "slices"

// MaxStreams is the largest number of streams a rule may allow one client.
const MaxStreams = 64

// Owner is one life of a worker: the slot it holds in the registry and the incarnation it holds it under. A slot that
// changes hands, or is taken again by the same worker, gets a new incarnation, so an Owner never comes back.
type Owner struct {
	Slot        uint16
	Incarnation uint64
}

// Stream is one event stream as the registry knows it. Owner and Context together name it for ever.
type Stream struct {
	Claim     uint64 // number of the claim that registered it, counted by its bucket: larger is newer
	Owner     Owner
	Context   uint32 // Envoy's stream context id, unique within the owner's VM
	ClaimedAt int64  // Unix milliseconds
}

// Is reports whether s and t name the same stream, whatever claim they were registered under.
func (s Stream) Is(t Stream) bool { return s.Owner == t.Owner && s.Context == t.Context }

// Limits is what a rule allows one client.
type Limits struct {
	MaxStreams int // 1 to [MaxStreams]
}

// Verdict is the outcome of [Decide].
type Verdict struct {
	// Next holds the client's streams after the decision, in claim order, oldest first.
	Next []Stream
	// Superseded holds the streams that yield, oldest first. A newcomer that comes under an old claim number (it
	// returns to a registry it was swept from) may be among them: see Admitted.
	Superseded []Stream
	// Admitted reports whether the newcomer is in Next.
	Admitted bool
}

// Decide places newcomer among the client's streams and keeps the newest limits.MaxStreams of them.
//
// Streams must be in claim order, oldest first, as every Verdict.Next is. The newcomer's place is that of its claim
// number and not the end: a stream that comes back under its old number must not beat one that has superseded it.
// The slices of the verdict are fresh; streams is not changed.
func Decide(streams []Stream, newcomer Stream, limits Limits) Verdict {
	at, _ := slices.BinarySearchFunc(streams, newcomer.Claim, func(s Stream, claim uint64) int {
		if s.Claim <= claim {
			return -1
		}
		return 1
	})
	next := make([]Stream, 0, len(streams)+1)
	next = append(next, streams[:at]...)
	next = append(next, newcomer)
	next = append(next, streams[at:]...)

	yields := max(0, len(next)-limits.MaxStreams)
	return Verdict{
		Next:       next[yields:],
		Superseded: next[:yields:yields],
		Admitted:   at >= yields,
	}
}
