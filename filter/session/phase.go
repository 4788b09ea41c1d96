package session

import "fmt"

// phase is how far a stream has come.
//
//	asking ─→ open                          claim_at: response, the default
//	asking ─→ held ─→ asking                it is to be refused, and came back too early
//	asking ─→ answering                     a call of MCP is to be refused
//	answering ─→ asking                     it is no call: its response decides
//	asking ─→ claimed ─→ open               claim_at: request
//	asking ─→ looking ─→ asking             with a fleet: would it be refused?
//	asking ─→ claiming ─→ claimed           with a fleet, claim_at: request
//	asking ─→ joining ─→ open               with a fleet, claim_at: response
//	claimed ─→ paused ─→ claimed            others must end first
//	claimed, paused ─→ resetting            a newer request took its place before the answer
//	open ─→ leaving ─→ parted ─→ resetting  ended by the filter, with a goodbye
//	open ─→ resetting                       ended by the filter, without
//	open ─→ observed                        the rule only observes: it would have been ended
//	any ─→ done, or releasing               ended
//
// The registry has states of its own for the stream's place there, see [registry.State]. Which of
// them go with which phase is in legal.go. The scenarios check it after every step.
type phase uint8

const (
	// asking: nothing is claimed. The request, or the wait for its response.
	asking phase = iota + 1
	// held: nothing is claimed. The request waits before it is refused, if it still has to be.
	held
	// answering: nothing is claimed. A call of MCP is to be refused, when its body has told its id.
	answering
	// looking: nothing is claimed. The request waits until the fleet has said whether it may go on.
	looking
	// claiming: as looking, and the fleet is asked for a place.
	claiming
	// joining: the fleet is asked for a place, and the response waits.
	joining
	// paused: the place is claimed, and the request waits until the superseded streams have ended.
	paused
	// claimed: the place is claimed, and the backend has not answered yet.
	claimed
	// open: an event stream.
	open
	// leaving: it gets a goodbye after its next event. When its timer is due, it is reset anyway.
	leaving
	// parted: the goodbye is written. Nothing may follow; the next callback resets it.
	parted
	// observed: an event stream that goes on, although its rule would have ended it.
	observed
	// resetting: Envoy was told to reset it and has not said yet that it has.
	resetting
	// releasing: it has ended by itself. A tick will find out whether it held its place until then.
	releasing
	// done: nothing is left to do. It has ended, or was refused, or is no event stream.
	done
)

func (p phase) String() string {
	switch p {
	case asking:
		return "asking"
	case held:
		return "held"
	case answering:
		return "answering"
	case looking:
		return "looking"
	case claiming:
		return "claiming"
	case joining:
		return "joining"
	case paused:
		return "paused"
	case claimed:
		return "claimed"
	case open:
		return "open"
	case leaving:
		return "leaving"
	case parted:
		return "parted"
	case observed:
		return "observed"
	case resetting:
		return "resetting"
	case releasing:
		return "releasing"
	case done:
		return "done"
	}
	return fmt.Sprintf("phase(%d)", uint8(p))
}

// enter is the only place that changes a stream's phase.
func (s *Stream) enter(p phase) {
	if s.phase == held {
		s.rule.worker.brake.free(s.caller())
	}
	s.rule.worker.leaving += goodbyes(p) - goodbyes(s.phase)
	s.phase = p
}

// holdsRequest reports whether the request waits, and not the response.
func (p phase) holdsRequest() bool {
	return p == held || p == looking || p == claiming || p == paused
}

// goodbyes is what a stream in this phase counts towards mostLeaving.
func goodbyes(p phase) int {
	if p == leaving || p == parted {
		return 1
	}
	return 0
}
