package registry

import (
	"fmt"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Stream is a worker's handle on one of its streams. The exported fields are set before
// [Worker.Claim] and not changed after it. The stream belongs to the worker from a Claim that does
// not refuse it until [Worker.Release].
type Stream struct {
	Client   ClientID
	Instance policy.Instance // 0: unknown
	Rule     RuleID
	Context  uint32         // Envoy's id of the stream context
	Limits   *policy.Limits // of the rule; not changed
	Of       any            // for the caller; the registry does not look at it
	Enforce  bool           // false: the owners of superseded streams are told, and end nothing
	Stamp    uint64         // its place in the order of a fleet's streams, and its claim number; 0: its bucket counts
	Wait     bool           // Wake returns the stream once the streams that yielded to its claim have ended

	state     State
	expected  bool  // see [Worker.Expect]
	why       Why   // only in state Out
	awaits    uint8 // streams that yielded to its claim and have not ended yet
	slot      uint16
	life      uint64 // incarnation; with slot, the owner under which it is or was registered
	claim     uint64 // 0: never registered
	claimedAt int64
	replyTo   *Reply // the claim that waits for this stream's end; nil if none does

	next, previous *Stream // in the list of the worker's streams in the same bucket
}

// as returns what s is or was registered as.
func (s *Stream) as() policy.Stream {
	return policy.Stream{
		Claim: s.claim, Owner: policy.Owner{Slot: s.slot, Incarnation: s.life}, Context: s.Context,
		ClaimedAt: s.claimedAt, Instance: s.Instance,
	}
}

// is reports whether r is s in the registry.
func (s *Stream) is(r policy.Stream) bool { return s.as().Is(r) }

// registerAs notes that s is in the registry.
func (s *Stream) registerAs(r policy.Stream) {
	s.state, s.claim, s.claimedAt = Registered, r.Claim, r.ClaimedAt
	s.slot, s.life = r.Owner.Slot, r.Owner.Incarnation
}

// State is where a stream stands between its claim and its release. The states and what leads from
// one to the next:
//
//	Unclaimed ─ Claim ─→ Registered ─ Release ─→ Released
//
//	Unclaimed ─ Claim lost every race ─→ Pending ─ tick ─→ Registered, or Out if it is refused
//	Registered ─ the worker lost its slot ─→ Returning ─ tick ─→ Registered, or Out if it yields
//	Registered ─ a look did not find it ─→ Missing ─ next look ─→ Registered, or Out
//	Registered, Missing, Returning ─ superseded, dismissed ─→ Out ─ Release ─→ Released
//	Registered, Missing, Returning ─ Release lost every race ─→ Releasing ─ tick ─→ Released
type State uint8

const (
	// Unclaimed: Claim was not called, or it refused the stream.
	Unclaimed State = iota
	// Pending: the claim is not written yet; a tick tries again.
	Pending
	// Registered: the stream is in the registry, as far as its worker knows.
	Registered
	// Missing: as Registered, but the last look did not find it.
	Missing
	// Returning: other workers thought that this one was dead and removed its streams; a tick
	// puts the stream back under its old claim number.
	Returning
	// Out: the stream has no place in the registry any more; Why says why.
	Out
	// Releasing: the stream has ended; a tick removes it from the registry.
	Releasing
	// Released: the stream has ended and the worker has forgotten it.
	Released
)

func (s State) String() string {
	switch s {
	case Unclaimed:
		return "unclaimed"
	case Pending:
		return "pending"
	case Registered:
		return "registered"
	case Missing:
		return "missing"
	case Returning:
		return "returning"
	case Out:
		return "out"
	case Releasing:
		return "releasing"
	case Released:
		return "released"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// alive reports whether the stream is the worker's and may go on.
func (s State) alive() bool { return s == Pending || s.counted() }

// counted reports whether the stream counts as one of the worker's registered streams.
func (s State) counted() bool { return s == Registered || s == Missing || s == Returning }

// unfinished reports whether a tick is to try the last write again.
func (s State) unfinished() bool { return s == Pending || s == Releasing }

// Why is why a stream has no place in the registry any more.
type Why uint8

const (
	BySuccessor   Why = iota + 1 // a newer stream superseded it
	ByOwnInstance                // a newer stream of its own instance superseded it
	ByOperator                   // an operator dismissed it, see [Worker.Dismiss]
	ByRefusal                    // a tick made its claim, and the claim was refused
	ByLoss                       // it is not in the registry, and no message said why
)

// State returns where the stream stands.
func (s *Stream) State() State { return s.state }

// Why says why the registry wants the stream ended; 0: it does not.
func (s *Stream) Why() Why { return s.why }

// Awaits returns how many of the streams that yielded to its claim have not ended yet, as far as
// their owners have told; always 0 without Wait. An owner may have died, so the caller must limit
// the wait.
func (s *Stream) Awaits() int { return int(s.awaits) }
