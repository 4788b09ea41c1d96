// Package policy decides what happens when a client opens an event stream: whether the new stream
// is admitted, and which older streams it supersedes.
//
// The package is the pure core of the filter. The state of a client and a new stream go in; a
// verdict and the next state come out. There is no clock, no store and no host here. So the same
// code decides over Envoy's shared data, over a plain map in a test, and in an exhaustive search of
// small states.
package policy

import (
	"cmp"
	"fmt"
	"slices"
)

const (
	// MaxStreams is the largest number of streams that a rule may allow one client.
	MaxStreams = 64
	// MaxSuperseded is how many superseded instances are remembered for a client. When there are
	// more, the ones superseded first are forgotten.
	MaxSuperseded = 4
)

// Owner identifies the worker that has a stream: its slot in the registry, and the incarnation
// under which it holds the slot. Whoever takes a slot, even the worker that had it before, takes it
// under a new incarnation. So an Owner is never used twice.
type Owner struct {
	Slot        uint16
	Incarnation uint64
}

// Instance is a keyed hash that names one page or process of a client. 0 means unknown.
type Instance uint64

// Stream is one event stream in the registry. No two streams ever have the same Owner and Context.
type Stream struct {
	Claim     uint64 // claim number in the client's bucket: larger is newer
	Owner     Owner
	Context   uint32 // Envoy's stream context id, unique within the owner's VM
	ClaimedAt int64  // milliseconds, by the clock of all workers
	Instance  Instance
}

// Is reports whether s and t are the same stream. Their claim numbers may differ.
func (s Stream) Is(t Stream) bool { return s.Owner == t.Owner && s.Context == t.Context }

// Client is what the registry holds for one client.
type Client struct {
	Streams    []Stream   // in claim order, oldest first
	Superseded []Instance // instances that lost their stream to another, the latest last; never 0
	Spent      Spent      // tokens taken from the rule's TakeoverLimit
	Reconnects Spent      // tokens taken from [ReconnectLimit]
	MaxStreams int        // of the limits that the newest stream was admitted under; 0: unknown
	Dismissed  uint64     // streams up to this claim number were dismissed by an operator; 0: none
	Until      int64      // what is kept besides the streams matters until then, in milliseconds; 0: nothing is
}

// At returns the client as it is at now: what is over is forgotten.
func (c Client) At(now int64) Client {
	if c.Until <= now {
		c.Dismissed, c.Until = 0, 0
		if len(c.Streams) == 0 {
			return Client{}
		}
	}
	return c
}

// Memory is what is remembered about a client besides its streams, and which others have to agree
// on: all Envoys of a fleet.
type Memory struct {
	Spent, Reconnects Spent
	Superseded        []Instance
}

// Memory returns what is remembered about the client.
func (c Client) Memory() Memory {
	return Memory{Spent: c.Spent, Reconnects: c.Reconnects, Superseded: c.Superseded}
}

// Remember returns client with another memory. limits are those of its rule.
func (c Client) Remember(m Memory, limits Limits, now int64) Client {
	c.Spent, c.Reconnects, c.Superseded = m.Spent, m.Reconnects, m.Superseded
	c.Until = max(c.Until, m.Spent.fullAt(limits.TakeoverLimit, now), m.Reconnects.fullAt(ReconnectLimit, now))
	return c
}

// Shift returns the memory with its times by another clock, which is ahead by so many milliseconds.
func (m Memory) Shift(ahead int64) Memory {
	for _, s := range [...]*Spent{&m.Spent, &m.Reconnects} {
		if s.Tokens > 0 {
			s.Since += ahead
		}
	}
	return m
}

// ReconnectLimit limits how often an instance may supersede its own stream. It is generous: a page
// on a bad network waits a few seconds at most, but two streams of one page that supersede each
// other again and again do not cost more than a request every few seconds.
var ReconnectLimit = TokenBucket{MaxTokens: 10, TokensPerFill: 1, FillInterval: 5 * Second}

// MaxMemory is how long spent tokens, or a dismissal, are remembered at most after the client's
// last stream has ended.
const MaxMemory = Hour

// Limits is what a rule allows each client.
type Limits struct {
	MaxStreams    int         // 1 to [MaxStreams]
	RejectNew     bool        // at MaxStreams, refuse the new stream; false: supersede the oldest
	TakeoverLimit TokenBucket // for takeovers by another instance, or by an unknown one
}

// Refusal says why a new stream is refused. 0 means that it is admitted.
type Refusal uint8

const (
	// Duplicate: the client is at its MaxStreams, and the rule has RejectNew.
	Duplicate Refusal = iota + 1
	// Superseded: the stream's instance was superseded, and the client is still at its MaxStreams.
	Superseded
	// TakeoverLimit: no token is left for a takeover, or for a reconnect of an instance.
	TakeoverLimit
	// Overloaded: this Envoy is at its total limit of streams.
	Overloaded
	// Contended: the registry write kept losing races against other workers. [Decide] never returns
	// it.
	Contended
	// TooLong: the path, or a header, is too long to tell whether the rule matches. [Decide] never
	// returns it.
	TooLong
	// Unavailable: the fleet's etcd does not answer, and the rule has on_unavailable: refuse.
	// [Decide] never returns it.
	Unavailable
)

// Refusals lists every Refusal.
var Refusals = [...]Refusal{Duplicate, Superseded, TakeoverLimit, Overloaded, Contended, TooLong, Unavailable}

func (r Refusal) String() string {
	switch r {
	case Duplicate:
		return "duplicate"
	case Superseded:
		return "superseded"
	case TakeoverLimit:
		return "takeover_limit"
	case Overloaded:
		return "overloaded"
	case Contended:
		return "contended"
	case TooLong:
		return "too_long"
	case Unavailable:
		return "unavailable"
	}
	return fmt.Sprintf("Refusal(%d)", uint8(r))
}

// Verdict is the result of [Decide] and [Return].
type Verdict struct {
	// Next is the state of the client after the decision. A refusal leaves the state as it was.
	Next Client
	// Superseded lists the streams that lose their place, oldest first. After Return, the returning
	// stream may be one of them.
	Superseded []Stream
	// Refusal says why the new stream is refused; 0: it is admitted.
	Refusal Refusal
	// Wait is the time until the next token, if Refusal is TakeoverLimit; else 0.
	Wait Millis
	// Dismissed is set by Return if the returning stream was dismissed meanwhile.
	Dismissed bool
}

// Decide decides whether newcomer becomes one of client's streams, and which streams it supersedes.
// The claim number of newcomer must be larger than those of client's streams. full means that this
// Envoy has no room for one more stream. now is in milliseconds.
//
// The first case that applies decides:
//
//  1. Newcomer's instance has a stream: newcomer supersedes that stream. It is the same page or
//     process reconnecting, and neither a limit nor a full Envoy may lock it out. It costs a token
//     of [ReconnectLimit]; if none is left, it is refused as TakeoverLimit.
//  2. The client has fewer than MaxStreams streams: newcomer is admitted, or refused as Overloaded
//     if full.
//  3. Newcomer's instance was superseded: newcomer is refused as Superseded. Otherwise the
//     automatic reconnect of the page that lost would win its place back.
//  4. The rule has RejectNew: newcomer is refused as Duplicate.
//  5. Otherwise it is a takeover, which costs a token: newcomer supersedes the oldest stream, or is
//     refused as TakeoverLimit if no token is left.
//
// If newcomer is admitted and the client then has more than MaxStreams streams, because the limit
// was lowered, the oldest of them are superseded too. With RejectNew they stay.
//
// Decide does not change client, and the verdict shares no memory with it.
func Decide(client Client, newcomer Stream, limits Limits, full bool, now int64) Verdict {
	client = client.At(now)
	next := client
	next.MaxStreams = limits.MaxStreams
	var superseded []Stream
	next.Streams = make([]Stream, 0, len(client.Streams)+1)
	for _, s := range client.Streams {
		if newcomer.Instance != 0 && s.Instance == newcomer.Instance {
			superseded = append(superseded, s)
		} else {
			next.Streams = append(next.Streams, s)
		}
	}

	refuse := func(why Refusal, wait Millis) Verdict {
		return Verdict{Next: client.clone(), Refusal: why, Wait: wait}
	}
	var wait Millis
	switch reconnects := len(superseded) > 0; {
	case reconnects:
		if next.Reconnects, wait = client.Reconnects.take(ReconnectLimit, now); wait > 0 {
			return refuse(TakeoverLimit, wait)
		}
		next.Until = max(next.Until, next.Reconnects.fullAt(ReconnectLimit, now))
	case len(client.Streams) < limits.MaxStreams:
		if full {
			return refuse(Overloaded, 0)
		}
	case newcomer.Instance != 0 && slices.Contains(client.Superseded, newcomer.Instance):
		return refuse(Superseded, 0)
	case limits.RejectNew:
		return refuse(Duplicate, 0)
	default:
		if next.Spent, wait = client.Spent.take(limits.TakeoverLimit, now); wait > 0 {
			return refuse(TakeoverLimit, wait)
		}
		next.Until = max(next.Until, next.Spent.fullAt(limits.TakeoverLimit, now))
	}

	next.Streams = append(next.Streams, newcomer)
	if !limits.RejectNew {
		var excess []Stream
		next.Streams, excess = newest(next.Streams, limits.MaxStreams)
		superseded = append(superseded, excess...)
		sortByClaim(superseded)
	}
	next.Superseded = remember(next, superseded)
	return Verdict{Next: next, Superseded: superseded}
}

// Return puts a stream back into the registry. The stream was admitted earlier and lost its place
// without a decision: other workers declared its worker dead while it was alive, and removed it.
//
// The stream takes the place of its old claim number, so it cannot beat a newer stream that has
// superseded it. Of each instance only the newest stream stays, and of those the newest MaxStreams:
// of the limits that the client's newest stream was admitted under, or maxStreams if there is none.
// The others are superseded, the returning stream perhaps among them. Nothing is ever refused. A
// stream that was dismissed meanwhile does not come back.
//
// Return does not change client, and the verdict shares no memory with it.
func Return(client Client, returning Stream, maxStreams int, now int64) Verdict {
	client = client.At(now)
	if returning.Claim <= client.Dismissed {
		return Verdict{Next: client.clone(), Superseded: []Stream{returning}, Dismissed: true}
	}
	at, taken := slices.BinarySearchFunc(client.Streams, returning.Claim, func(s Stream, claim uint64) int {
		return cmp.Compare(s.Claim, claim)
	})
	if taken { // neither stream is newer; the registered one stays
		return Verdict{Next: client.clone(), Superseded: []Stream{returning}}
	}
	next := client
	next.Streams = nil
	if len(client.Streams) == 0 || client.MaxStreams == 0 {
		next.MaxStreams = maxStreams
	}
	all := slices.Insert(slices.Clone(client.Streams), at, returning)
	var superseded []Stream
	for i, s := range all {
		sameInstance := func(later Stream) bool { return s.Instance != 0 && later.Instance == s.Instance }
		if slices.ContainsFunc(all[i+1:], sameInstance) {
			superseded = append(superseded, s)
		} else {
			next.Streams = append(next.Streams, s)
		}
	}
	var excess []Stream
	next.Streams, excess = newest(next.Streams, next.MaxStreams)
	superseded = append(superseded, excess...)
	sortByClaim(superseded)
	next.Superseded = remember(next, superseded)
	return Verdict{Next: next, Superseded: superseded}
}

// Without returns client after its streams for which gone holds have ended, or were removed. The
// last of them takes the superseded instances along.
func (c Client) Without(gone func(Stream) bool, now int64) Client {
	c = c.At(now)
	c.Streams = slices.DeleteFunc(slices.Clone(c.Streams), gone)
	if len(c.Streams) == 0 {
		c.Superseded, c.MaxStreams = nil, 0
	}
	return c.At(now)
}

// Dismiss returns client after an operator has dismissed its streams, all of which have claim
// numbers up to newest. None of them can come back, see [Return]. Nothing else is remembered,
// except by a client without streams: the spent tokens of one that has nothing to be dismissed are
// still spent. Its streams may have been removed while their worker lives, and come back.
func (c Client) Dismiss(newest uint64, now int64) Client {
	c = c.At(now)
	if len(c.Streams) > 0 {
		c = Client{}
	}
	c.Dismissed, c.Until = newest, max(c.Until, now+int64(MaxMemory))
	return c
}

// clone returns a copy of c that shares no memory with it.
func (c Client) clone() Client {
	c.Streams, c.Superseded = slices.Clone(c.Streams), slices.Clone(c.Superseded)
	return c
}

func sortByClaim(streams []Stream) {
	slices.SortFunc(streams, func(a, b Stream) int { return cmp.Compare(a.Claim, b.Claim) })
}

// newest splits streams, which are in claim order, into the newest limit streams and the rest.
func newest(streams []Stream, limit int) (stay, excess []Stream) {
	n := max(0, len(streams)-limit)
	return streams[n:], streams[:n:n]
}

// remember returns the superseded instances of client after the streams in superseded have lost
// their place. An instance that has a stream is not remembered.
func remember(client Client, superseded []Stream) []Instance {
	hasStream := func(i Instance) bool {
		return slices.ContainsFunc(client.Streams, func(s Stream) bool { return s.Instance == i })
	}
	instances := slices.DeleteFunc(slices.Clone(client.Superseded), hasStream)
	for _, s := range superseded {
		if s.Instance != 0 && !hasStream(s.Instance) && !slices.Contains(instances, s.Instance) {
			instances = append(instances, s.Instance)
		}
	}
	return instances[max(0, len(instances)-MaxSuperseded):]
}
