// Package policy decides what happens when a client opens an event stream: whether it may, and who yields.
//
// It is the pure core of the filter. What is known of a client and a newcomer go in, a verdict and what is known
// afterwards come out; there is no clock, no store and no host here, so the same decision serves Envoy's shared data,
// a test's plain map and a search of every small state.
package policy

import (
	"slices"
	"sort"
	"strconv"
)

const (
	// MaxStreams is the largest number of streams a rule may allow one client.
	MaxStreams = 64
	// MaxSuperseded is how many superseded instances of a client are remembered; the oldest is forgotten first.
	MaxSuperseded = 4
)

// Owner is one life of a worker: the slot it holds in the registry and the incarnation it holds it under. A slot that
// changes hands, or is taken again by the same worker, gets a new incarnation, so an Owner never comes back.
type Owner struct {
	Slot        uint16
	Incarnation uint64
}

// Instance is a keyed hash that names one page or process of a client; 0: it is not known which.
type Instance uint64

// Stream is one event stream as the registry knows it. Owner and Context together name it for ever.
type Stream struct {
	Claim     uint64 // number of the claim that registered it, counted by its bucket: larger is newer
	Owner     Owner
	Context   uint32 // Envoy's stream context id, unique within the owner's VM
	ClaimedAt int64  // Unix milliseconds
	Instance  Instance
}

// Is reports whether s and t name the same stream, whatever claim they were registered under.
func (s Stream) Is(t Stream) bool { return s.Owner == t.Owner && s.Context == t.Context }

// Client is what is known of one client while it has streams.
type Client struct {
	Streams    []Stream   // in claim order, oldest first
	Superseded []Instance // instances that another took the place of, in that order; never 0
	Spent      Spent      // tokens of the takeover limit
}

// Limits is what a rule allows one client.
type Limits struct {
	MaxStreams    int         // 1 to [MaxStreams]
	RejectNew     bool        // at MaxStreams the newcomer is refused, and not the oldest ended
	TakeoverLimit TokenBucket // on takeovers by another, or an unknown, instance
}

// Refusal says why a newcomer is turned away; 0: it is not.
type Refusal uint8

const (
	Duplicate     Refusal = iota + 1 // the client has its streams, and RejectNew holds
	Superseded                       // the newcomer's instance has lost its place to another that still has it
	TakeoverLimit                    // the client's streams have taken over from each other too often
	Overloaded                       // there are as many streams as this Envoy may have
	Contended                        // other workers kept the claim from being written; not from [Decide]
)

// Refusals lists them all.
var Refusals = [...]Refusal{Duplicate, Superseded, TakeoverLimit, Overloaded, Contended}

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
	}
	return "Refusal(" + strconv.Itoa(int(r)) + ")"
}

// Verdict is the outcome of [Decide] and [Return].
type Verdict struct {
	// Next is what is known of the client after the decision. After a refusal it is what was known before.
	Next Client
	// Superseded holds the streams that yield, oldest first. A stream that returns may be among them.
	Superseded []Stream
	// Refusal says why the newcomer may not come in.
	Refusal Refusal
	// Wait is how long after a refusal for the TakeoverLimit there is a token again.
	Wait Millis
}

// Decide says whether newcomer, whose claim number is the largest, may become one of the client's streams, and which
// of them yield to it. full says that this Envoy has no room for one stream more. now is in Unix milliseconds. The
// first of these that applies:
//
//  1. Its instance has a stream already: that one yields. It is the same page or process, reconnecting; no limit and
//     no full Envoy may lock it out.
//  2. The client has less than its MaxStreams: the newcomer comes in, unless full.
//  3. Its instance was superseded: refused, or the loser's automatic reconnect would win.
//  4. RejectNew: refused.
//  5. It is a takeover, which takes a token: the oldest yields, or if there is no token the newcomer is refused.
//
// Where it comes in, what is over MaxStreams yields too, oldest first: the limit may have been lowered. RejectNew
// leaves those alone.
//
// The slices of the verdict are fresh; those of client are not changed.
func Decide(client Client, newcomer Stream, limits Limits, full bool, now int64) Verdict {
	next := Client{Superseded: client.Superseded, Spent: client.Spent}
	var yielding []Stream
	next.Streams = make([]Stream, 0, len(client.Streams)+1)
	for _, s := range client.Streams {
		if newcomer.Instance != 0 && s.Instance == newcomer.Instance {
			yielding = append(yielding, s)
		} else {
			next.Streams = append(next.Streams, s)
		}
	}

	refuse := func(why Refusal, wait Millis) Verdict {
		return Verdict{Next: client.clone(), Refusal: why, Wait: wait}
	}
	switch reconnects := len(yielding) > 0; {
	case reconnects:
	case len(client.Streams) < limits.MaxStreams:
		if full {
			return refuse(Overloaded, 0)
		}
	case newcomer.Instance != 0 && slices.Contains(client.Superseded, newcomer.Instance):
		return refuse(Superseded, 0)
	case limits.RejectNew:
		return refuse(Duplicate, 0)
	default:
		var wait Millis
		if next.Spent, wait = client.Spent.take(limits.TakeoverLimit, now); wait > 0 {
			return refuse(TakeoverLimit, wait)
		}
	}

	next.Streams = append(next.Streams, newcomer)
	if !limits.RejectNew {
		var over []Stream
		next.Streams, over = newest(next.Streams, limits.MaxStreams)
		yielding = oldestFirst(append(yielding, over...))
	}
	next.Superseded = remember(next, yielding)
	return Verdict{Next: next, Superseded: yielding}
}

// Return puts a stream back that had been admitted and lost its place through no decision: its worker was taken for
// dead. Its place is that of its claim number: a stream that comes back must not beat one that has superseded it. So
// the newest MaxStreams stay, and of each instance the newest; the others yield, returning itself perhaps.
func Return(client Client, returning Stream, limits Limits) Verdict {
	at, taken := slices.BinarySearchFunc(client.Streams, returning.Claim, func(s Stream, claim uint64) int {
		switch {
		case s.Claim < claim:
			return -1
		case s.Claim > claim:
			return 1
		}
		return 0
	})
	if taken { // of two streams with one number neither is the newer: the one that is there stays
		return Verdict{Next: client.clone(), Superseded: []Stream{returning}}
	}
	next := Client{Superseded: client.Superseded, Spent: client.Spent}
	all := slices.Insert(slices.Clone(client.Streams), at, returning)
	var yielding []Stream
	for i, s := range all {
		again := func(later Stream) bool { return s.Instance != 0 && later.Instance == s.Instance }
		if slices.ContainsFunc(all[i+1:], again) {
			yielding = append(yielding, s)
		} else {
			next.Streams = append(next.Streams, s)
		}
	}
	var over []Stream
	next.Streams, over = newest(next.Streams, limits.MaxStreams)
	yielding = oldestFirst(append(yielding, over...))
	next.Superseded = remember(next, yielding)
	return Verdict{Next: next, Superseded: yielding}
}

// clone returns a copy of c that shares no memory with it.
func (c Client) clone() Client {
	c.Streams, c.Superseded = slices.Clone(c.Streams), slices.Clone(c.Superseded)
	return c
}

// oldestFirst sorts streams. Package regexp has sort.Sort in the module anyway; slices.SortFunc would be another 20 KB.
func oldestFirst(streams []Stream) []Stream {
	if len(streams) > 1 {
		sort.Sort(byClaim(streams))
	}
	return streams
}

type byClaim []Stream

func (s byClaim) Len() int           { return len(s) }
func (s byClaim) Less(i, j int) bool { return s[i].Claim < s[j].Claim }
func (s byClaim) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }

// newest splits streams, which are in claim order, into the last limit of them and the others.
func newest(streams []Stream, limit int) (stay, yield []Stream) {
	n := max(0, len(streams)-limit)
	return streams[n:], streams[:n:n]
}

// remember returns the superseded instances of a client whose streams have just yielded to others. An instance that
// has a stream is not one of them.
func remember(client Client, yielded []Stream) []Instance {
	holds := func(i Instance) bool {
		return slices.ContainsFunc(client.Streams, func(s Stream) bool { return s.Instance == i })
	}
	superseded := slices.DeleteFunc(slices.Clone(client.Superseded), holds)
	for _, s := range yielded {
		if s.Instance != 0 && !holds(s.Instance) && !slices.Contains(superseded, s.Instance) {
			superseded = append(superseded, s.Instance)
		}
	}
	return superseded[max(0, len(superseded)-MaxSuperseded):]
}
