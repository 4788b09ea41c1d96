package session

import (
	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/fleet"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// A stream on its way into the fleet and out of it.

// fleetPlace is a stream's place in the fleet, and what its response must have said before it
// waited.
type fleetPlace struct {
	fleet.Stream
	member    *member // that knows it; nil: none was asked yet
	askedAt   int64
	refusal   policy.Refusal // of a request that is held, or whose body is to tell a call's id
	wait      policy.Millis  // and the wait of that verdict
	canAppend bool
}

// enroll gives a stream its handle, if its rule has a fleet. The key must not be kept.
func (f *fleetSide) enroll(s *Stream, key []byte, context uint32) {
	if f == nil || s.rule.Scope != config.FleetScope {
		return
	}
	s.fleet = &fleetPlace{Stream: fleet.Stream{
		Client: f.client(s.rule.Mode, s.rule.Name, key), Context: context, Limits: s.rule.limits, Of: s,
		RefuseUnavailable: s.rule.OnUnavailable == config.RefuseUnavailable,
		RefuseContended:   f.worker.config.OnContention == config.Refuse,
	}}
}

// ask asks the fleet about the stream whose callback is running: with look, whether it would be
// refused, else for a place. The verdict comes at once, or the stream waits for it in the phase.
func (f *fleetSide) ask(s *Stream, now int64, look bool, wait phase) (v *fleet.Verdict, came bool) {
	place := s.fleet
	if place.member == nil || place.member.Gone(&place.Stream) { // one that does not know the stream may be full by now, or have retired
		place.member = f.memberFor(place.Client)
	}
	place.askedAt = now
	f.running, f.verdict = s, nil
	if look {
		place.member.Look(now, &place.Stream)
	} else {
		place.member.Claim(now, &place.Stream)
	}
	f.pump(place.member, now)
	v, f.running, f.verdict = f.verdict, nil, nil
	f.remind(now)
	if v == nil {
		s.enter(wait)
	}
	return v, v != nil
}

// leaveFleet gives a stream's place in the fleet back, whoever has ended it.
func (s *Stream) leaveFleet(now int64) {
	if s.fleet == nil {
		return
	}
	place := s.fleet
	s.fleet = nil
	s.rule.worker.registry.Forgo(&s.place)
	s.rule.worker.fleet.ended(place, now)
}

// tryFleet asks the fleet about a request that wants to come in.
func (s *Stream) tryFleet(request Request, now int64) admission {
	f := s.rule.worker.fleet
	look, wait := s.rule.ClaimAt == config.AtResponse, claiming
	if look {
		wait = looking
	}
	if s.overloads(now) {
		return s.turnAway(policy.Verdict{Refusal: policy.Overloaded}, request, now)
	}
	v, came := f.ask(s, now, look, wait)
	if !came {
		return waits
	}
	return s.obeyFleet(*v, request, now)
}

// overloads reports whether this Envoy has no room for the stream. The fleet knows nothing of its
// limit. If there is room, it is kept for the stream until the fleet's verdict.
func (s *Stream) overloads(now int64) bool {
	w := s.rule.worker
	room, err := w.registry.Expect(now, &s.place)
	w.warn(err)
	return !room
}

// obeyFleet does what the fleet has said about a request.
func (s *Stream) obeyFleet(v fleet.Verdict, request Request, now int64) admission {
	if v.Outcome == fleet.Proceed {
		s.rule.worker.registry.Forgo(&s.place)
		s.enter(asking)
		return admitted
	}
	verdict := s.takePlace(v, now)
	if verdict.Refusal == 0 {
		return s.await(now)
	}
	if s.phase == claimed { // it has come in, and lost its place at once
		s.release()
		s.reenter()
		return s.refuse(verdict, request, nil, now)
	}
	s.enter(asking)
	return s.turnAway(verdict, request, now)
}

// turnAway refuses a request. The first time it may wait for its answer, but in the fleet it ends
// now: one that etcd has not answered would else be registered, and others would end for it.
func (s *Stream) turnAway(v policy.Verdict, request Request, now int64) admission {
	again := s.fleet.refusal != 0
	s.fleet.refusal, s.fleet.wait = v.Refusal, v.Wait
	s.rule.worker.registry.Forgo(&s.place)
	s.rule.worker.fleet.ended(s.fleet, now)
	s.reenter()
	if !again && s.hold(now) {
		return waits
	}
	return s.obey(v, request, now)
}

// tryFleetAgain decides about a request that was held. It is refused if etcd still has to remove
// what it has of the request: its new place would be removed, too.
func (s *Stream) tryFleetAgain(request Request, now int64) admission {
	if m := s.fleet.member; m != nil && !m.Gone(&s.fleet.Stream) {
		return s.obey(s.turnedAway(), request, now)
	}
	return s.tryFleet(request, now)
}

// turnedAway is the verdict of [Stream.turnAway].
func (s *Stream) turnedAway() policy.Verdict {
	return policy.Verdict{Refusal: s.fleet.refusal, Wait: s.fleet.wait}
}

// takePlace takes the place in this Envoy's registry that the fleet's verdict is for.
func (s *Stream) takePlace(v fleet.Verdict, now int64) policy.Verdict {
	w := s.rule.worker
	switch v.Outcome {
	case fleet.Refused:
		return policy.Verdict{Refusal: v.Refusal, Wait: v.Wait}
	case fleet.Unavailable:
		return policy.Verdict{Refusal: policy.Unavailable}
	case fleet.Overtaken:
		return policy.Verdict{Refusal: policy.Superseded}
	case fleet.Alone:
		s.place.Stamp = uint64(v.Stamp)
		verdict := s.claim(now)
		if verdict.Refusal != 0 {
			s.place.Stamp = 0
		}
		return verdict
	}
	s.place.Stamp = uint64(v.Stamp)
	wall := w.host.WallClock()
	done, err := w.registry.Place(now, &s.place, v.Memory.Shift(now-wall))
	w.warn(err)
	s.enter(claimed)
	w.countTakeovers(s, v.Superseded, wall)
	w.carryOut(done, now)
	if s.place.Why() != 0 && s.place.Enforce {
		return policy.Verdict{Refusal: policy.Superseded}
	}
	return policy.Verdict{}
}

// joined does what the fleet has said about a stream whose response has come.
func (s *Stream) joined(v fleet.Verdict, now int64) admission {
	verdict := s.takePlace(v, now)
	if verdict.Refusal != 0 {
		s.release()
		s.reenter()
		return s.refuse(verdict, nil, nil, now)
	}
	s.opened(now, s.fleet != nil && s.fleet.canAppend)
	return admitted
}

// carryOut gives the verdicts to the streams that wait for them, and ends the streams that have
// lost their place in the fleet, as many as one callback may act on. The rest goes on in the next
// one. It is not for the callbacks of a stream: at the end of one, Envoy would have to reset
// others.
func (f *fleetSide) carryOut(now int64) {
	if f == nil {
		return
	}
	f.acting = true
	w := f.worker
	for len(f.verdicts) > 0 && w.acted < registry.EndsPerCall {
		v := f.verdicts[0]
		f.verdicts = f.verdicts[1:]
		f.decided(v, now)
	}
	if len(f.verdicts) == 0 && len(f.given) > 0 {
		f.given = map[fleet.ID]fleet.Stamp{}
	}
	for len(f.ends) > 0 && w.acted < registry.EndsPerCall {
		end := f.ends[0]
		f.ends = f.ends[1:]
		if s := end.Stream.Of.(*Stream); s.fleet != nil && &s.fleet.Stream == end.Stream {
			s.fleet = nil
			s.lostInFleet(end.Why, now)
		}
	}
	f.acting = false
	f.remind(now)
}

// decided obeys a verdict on a stream that waits for it.
func (f *fleetSide) decided(v fleet.Verdict, now int64) {
	s := v.Stream.Of.(*Stream)
	if s.fleet == nil || &s.fleet.Stream != v.Stream {
		return // it has ended meanwhile
	}
	w := f.worker
	w.record(f.metrics.claimMs, uint64(max(0, now-s.fleet.askedAt)))
	w.acted++
	if !w.host.Enter(s.place.Context) {
		s.over()
		return
	}
	switch s.phase {
	case looking, claiming:
		request := w.host.Request()
		if became := s.obeyFleet(v, request, now); became == admitted || became == untracked {
			s.reenter()
			w.warn(w.host.Resume())
		}
	case joining:
		if became := s.joined(v, now); became == admitted || became == untracked {
			s.reenter()
			w.warn(w.host.ResumeResponse())
		}
	}
}

// reenter chooses the stream again, after calls to etcd may have chosen another.
func (s *Stream) reenter() { s.rule.worker.host.Enter(s.place.Context) }

// lostInFleet ends a stream that has lost its place in the fleet.
func (s *Stream) lostInFleet(why fleet.Why, now int64) {
	switch {
	case s.phase > leaving:
	case why == fleet.Dismissed:
		s.rule.worker.add(s.rule.metrics.dismissed, 1)
		s.end(Dismissed, now)
	case s.place.Enforce:
		s.end(Superseded, now)
	default:
		s.release()
		s.enter(observed)
	}
}
