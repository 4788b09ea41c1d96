package model

import "fmt"

// A Rule is something that the fleet does because the promise breaks without it. It is named after
// what happens if it is left out. Package fleet's tests leave the same rules out of its code.
type Rule int8

const (
	// NoGuard: the Txn does not compare the range.
	NoGuard Rule = iota + 1
	// NoKept: the Txn does not compare that the streams it counts on are still there.
	NoKept
	// NoSentinel: keys that went with the lease are taken for superseded ones.
	NoSentinel
	// NoReturn: after a lost lease, streams are not registered again.
	NoReturn
	// FreshStamp: a stream that returns, or was let in without etcd, claims like a newcomer.
	FreshStamp
	// LocalOrder: the Envoy's own registry orders by arrival, and not by stamp.
	LocalOrder
	// Ties: of two streams with one stamp, the one that is there stays, in each registry.
	Ties
	// RefuseLate: a stream is refused although its Txn may be carried out.
	RefuseLate
	// NoGhost: a key of a stream that has ended, put by a late Txn, stays.
	NoGhost
	// NoRelease: what the Envoy's own registry ends is not taken out of etcd.
	NoRelease
	// NoResync: a broken watch goes on from now.
	NoResync
	// SnapRev: a list that is older than a registration counts against it.
	SnapRev
	// StaleEvent: a delete that is older than the registration counts against it.
	StaleEvent
	// DelBeforeAnswer: a delete that overtakes the answer to the claim is dropped.
	DelBeforeAnswer
	// AnswerAfterSnap: an answer that is older than a list without the stream is believed.
	AnswerAfterSnap
)

// Rules lists them all.
var Rules = [...]Rule{
	NoGuard, NoKept, NoSentinel, NoReturn, FreshStamp, LocalOrder, Ties, RefuseLate, NoGhost,
	NoRelease, NoResync, SnapRev, StaleEvent, DelBeforeAnswer, AnswerAfterSnap,
}

func (r Rule) String() string {
	switch r {
	case NoGuard:
		return "no-guard"
	case NoKept:
		return "no-kept"
	case NoSentinel:
		return "no-sentinel"
	case NoReturn:
		return "no-return"
	case FreshStamp:
		return "fresh-stamp"
	case LocalOrder:
		return "local-order"
	case Ties:
		return "ties"
	case RefuseLate:
		return "refuse-late"
	case NoGhost:
		return "no-ghost"
	case NoRelease:
		return "no-release"
	case NoResync:
		return "no-resync"
	case SnapRev:
		return "snap-rev"
	case StaleEvent:
		return "stale-event"
	case DelBeforeAnswer:
		return "del-before-answer"
	case AnswerAfterSnap:
		return "answer-after-snap"
	}
	return fmt.Sprintf("Rule(%d)", int8(r))
}
