package fleet

import (
	"fmt"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Stream is a member's handle on one of its streams. The exported fields are set before
// [Member.Look] or [Member.Claim] and not changed after it.
type Stream struct {
	Client   ID
	Instance policy.Instance // 0: unknown
	Context  uint32          // Envoy's id of the stream context, never used twice by a member
	Limits   *policy.Limits  // of the rule; not changed
	Of       any             // for the caller; the member does not look at it

	RefuseUnavailable bool // refuse it if etcd has not answered in time; else this Envoy decides alone
	RefuseContended   bool // refuse it if its claim has lost too many races; else the same

	state    State
	stamp    Stamp         // fixed once the stream is let in
	memory   policy.Memory // of the client, as of the stream's claim
	revision int64         // of its registration under the member's lease; 0: none is known

	call    uint32 // that is under way for it; 0: none
	sending bool   // the call is a Txn
	sent    int64  // the lease of a Txn that may be carried out, now or later; 0: there is none
	plan    plan   // what the last Txn does
	more    bool   // there may be streams that yield to it and that its Txn did not name: too many
	doubt   int64  // revision of a list that lacked it, while the Txn was under way
	view    *view  // of the client's streams, for the next Txn; nil: look first
	tries   int    // Txns of this claim or return that have lost a race
	since   int64  // the caller waits since then, in states Looking, Waiting and Claiming
	waited  policy.Millis
	queued  bool // its claim has stood behind others of its client in this member
}

// State is where a stream stands. The states and what leads from one to the next:
//
//	Outside ─ Look ─→ Looking ─ answer ─→ Looked, or Outside if it is refused
//	Outside, Looked ─ Claim ─→ Waiting ─ its turn, with a lease ─→ Claiming
//	Claiming ─ the Txn is carried out ─→ Registered
//	Claiming ─ the Txn lost too many races, or the client is full ─→ Outside
//	Claiming ─ nobody knows whether the Txn is carried out ─→ Unregistered
//	Waiting, Claiming ─ etcd does not answer, no Txn was sent ─→ Unregistered, or Outside
//	Registered ─ the lease is lost ─→ Unregistered
//	Unregistered ─ its turn ─→ Returning ─ the Txn is carried out ─→ Registered
//	Returning ─ no answer, or too many lost races ─→ Unregistered
//	Claiming, Unregistered, Returning, Registered ─ superseded, dismissed ─→ Outside
//	all ─ Ended ─→ Outside
//
// From Unregistered on, the stream is in: the caller has let it in, whatever etcd holds.
type State uint8

const (
	// Outside: the stream is none of the member's, not yet or not any more.
	Outside State = iota
	// Looking: a look at the client's streams is under way, for a verdict before the backend
	// has the request.
	Looking
	// Looked: that look let the stream go on.
	Looked
	// Waiting: its claim waits for a lease, or for another claim of the same client in this
	// member.
	Waiting
	// Claiming: its look or its Txn is under way.
	Claiming
	// Unregistered: it is in, and not known to be registered.
	Unregistered
	// Returning: as Unregistered, and its Txn is under way.
	Returning
	// Registered: it is in and registered, as far as the member knows.
	Registered
)

func (s State) String() string {
	switch s {
	case Outside:
		return "outside"
	case Looking:
		return "looking"
	case Looked:
		return "looked"
	case Waiting:
		return "waiting"
	case Claiming:
		return "claiming"
	case Unregistered:
		return "unregistered"
	case Returning:
		return "returning"
	case Registered:
		return "registered"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// in reports whether the stream was let in.
func (s State) in() bool { return s >= Unregistered }

// State returns where the stream stands.
func (s *Stream) State() State { return s.state }

// Stamp returns the stream's place in the order of its client's streams; 0 until it is let in.
func (s *Stream) Stamp() Stamp {
	if !s.state.in() {
		return 0
	}
	return s.stamp
}

// Outcome is what a [Verdict] says.
type Outcome uint8

const (
	// Proceed: the look let the stream go on. Its place is still to be claimed.
	Proceed Outcome = iota + 1
	// Admitted: the stream is registered. The Envoy's own registry gets it under its stamp.
	Admitted
	// Unconfirmed: the stream is in, and may have superseded others: nobody knows whether etcd
	// has carried out its claim. The Envoy's own registry gets it under its stamp.
	Unconfirmed
	// Alone: etcd does not answer, or the claim lost too many races. The Envoy's own registry
	// decides, under the verdict's stamp. If it refuses the stream, the caller calls
	// [Member.Ended].
	Alone
	// Refused: the stream may not come in; the refusal says why.
	Refused
	// Unavailable: etcd does not answer, and the stream is to be refused then.
	Unavailable
	// Overtaken: the stream was registered and superseded before the verdict came.
	Overtaken
)

func (o Outcome) String() string {
	switch o {
	case Proceed:
		return "proceed"
	case Admitted:
		return "admitted"
	case Unconfirmed:
		return "unconfirmed"
	case Alone:
		return "alone"
	case Refused:
		return "refused"
	case Unavailable:
		return "unavailable"
	case Overtaken:
		return "overtaken"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// Verdict answers a [Member.Look] or a [Member.Claim].
type Verdict struct {
	Stream  *Stream
	Outcome Outcome
	Refusal policy.Refusal // if Refused
	Wait    policy.Millis  // until the next token, if the refusal is for want of one
	Stamp   Stamp          // if Admitted, Unconfirmed or Alone
	Memory  policy.Memory  // of the client, if Admitted or Unconfirmed; not to be changed
	// Superseded lists the streams that yield, oldest first. Their members hear of it from
	// etcd. The owner's incarnation is the lease of the member.
	Superseded []policy.Stream
}

// Why is why a stream has to end.
type Why uint8

const (
	Superseded Why = iota + 1 // newer streams of its client have its place
	Dismissed                 // an operator wants it
)

func (w Why) String() string {
	switch w {
	case Superseded:
		return "superseded"
	case Dismissed:
		return "dismissed"
	}
	return fmt.Sprintf("Why(%d)", uint8(w))
}

// End says that a stream has lost its place and is to be ended. The member has forgotten it.
type End struct {
	Stream *Stream
	Why    Why
}
