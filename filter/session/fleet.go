package session

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/fleet"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// A place in the fleet comes first, and then a place in this Envoy's registry, under the stamp that
// the fleet gave (see package fleet). The fleet answers in a later callback: until then the request
// waits, or the response. If etcd does not answer, this Envoy decides alone, at once.

// fleetSide is what a worker has of a fleet.
type fleetSide struct {
	worker  *Worker
	config  *config.Fleet
	members []*member
	calls   map[uint32]sentCall // by the host's number
	metrics fleetMetrics

	dismissals map[fleet.ID]*dismissal // under way

	// What is still to be carried out. Only callbacks that are no stream's do that, as many as each
	// may; see carryOut.
	verdicts []fleet.Verdict
	ends     []fleet.End

	running *Stream        // the stream whose callback is running
	verdict *fleet.Verdict // on it
	acting  bool           // carryOut is running
}

// member is one lease and one watch in one of the etcds.
type member struct {
	*fleet.Member
	cluster string
	calls   map[uint32]uint32 // under way: the host's number, by the member's
	counted fleet.Counts      // that the metrics have
	away    bool              // as it was logged last
}

// sentCall is a call whose answer is still to come.
type sentCall struct {
	member  *member
	id      uint32 // the member's number
	streams bool   // it is a stream of messages
}

// fleetPlace is a stream's place in the fleet, and what its response must have said before it
// waited.
type fleetPlace struct {
	fleet.Stream
	member    *member
	askedAt   int64
	refusal   policy.Refusal // of a request that is held, or whose body is to tell a call's id; it is final
	wait      policy.Millis  // and the wait of that verdict
	canAppend bool
}

// newFleetSide makes the worker's side of the fleet; nil without a fleet.
func newFleetSide(w *Worker) *fleetSide {
	if w.config.Fleet == nil {
		return nil
	}
	return &fleetSide{worker: w, config: w.config.Fleet, calls: map[uint32]sentCall{}, dismissals: map[fleet.ID]*dismissal{}, metrics: w.defineFleetMetrics()}
}

// hash makes ids as all Envoys of the fleet make them.
func (f *fleetSide) hash() registry.Table { return registry.Table{Seed: f.config.Secret} }

// client returns the id of a client under a rule. An Envoy that observes and one that enforces do
// not meet.
func (f *fleetSide) client(mode config.Mode, rule string, key []byte) fleet.ID {
	return fleet.ID(f.hash().Client(mode.String()+":"+rule, key))
}

// cluster returns the etcd that a client belongs to: the one with the highest hash of both. If the
// list of clusters changes, only the clients of those that came or went move.
func (f *fleetSide) cluster(id fleet.ID) string {
	best, most := f.config.Clusters[0], uint64(0)
	for _, name := range f.config.Clusters {
		hash := f.hash().Client(name, id[:])
		if h := binary.LittleEndian.Uint64(hash[:]); h > most {
			best, most = name, h
		}
	}
	return best
}

// memberFor returns a member that has room for one more stream of a client.
func (f *fleetSide) memberFor(id fleet.ID) *member {
	cluster := f.cluster(id)
	for _, m := range f.members {
		if all, _ := m.Streams(); m.cluster == cluster && all < fleet.MostStreams {
			return m
		}
	}
	m := &member{cluster: cluster, calls: map[uint32]uint32{}}
	m.Member = fleet.New(fleet.Config{
		Prefix: f.config.Prefix, Node: f.worker.host.Node(), LeaseTTL: f.config.LeaseTTL, Timeout: f.config.Timeout,
	}, f, f.worker.host.Random)
	f.setClock(m)
	f.members = append(f.members, m)
	return m
}

func (f *fleetSide) setClock(m *member) {
	m.SetClock(f.worker.host.WallClock() - f.worker.host.Now())
}

// Newest implements [fleet.Local].
func (f *fleetSide) Newest(s *fleet.Stream) fleet.Stamp {
	registered, err := f.worker.registry.Newest(s.Of.(*Stream).place.Client)
	f.worker.warn(err)
	newest := fleet.Stamp(registered)
	for _, v := range f.verdicts {
		if v.Stream.Client == s.Client {
			newest = max(newest, v.Stamp)
		}
	}
	return newest
}

// enroll gives a stream its handle, if its rule has a fleet. The key must not be kept.
func (f *fleetSide) enroll(s *Stream, key []byte, context uint32) {
	if f == nil || s.rule.Scope != config.FleetScope {
		return
	}
	id := f.client(s.rule.Mode, s.rule.Name, key)
	s.fleet = &fleetPlace{member: f.memberFor(id), Stream: fleet.Stream{
		Client: id, Context: context, Limits: s.rule.limits, Of: s,
		RefuseUnavailable: s.rule.OnUnavailable == config.RefuseUnavailable,
		RefuseContended:   f.worker.config.OnContention == config.Refuse,
	}}
}

// ask asks the fleet about the stream whose callback is running: with look, whether it would be
// refused, else for a place. The verdict comes at once, or the stream waits for it in the phase.
func (f *fleetSide) ask(s *Stream, now int64, look bool, wait phase) (v *fleet.Verdict, came bool) {
	s.fleet.askedAt = now
	f.running, f.verdict = s, nil
	if look {
		s.fleet.member.Look(now, &s.fleet.Stream)
	} else {
		s.fleet.member.Claim(now, &s.fleet.Stream)
	}
	f.pump(s.fleet.member, now)
	v, f.running, f.verdict = f.verdict, nil, nil
	f.remind(now)
	if v == nil {
		s.enter(wait)
	}
	return v, v != nil
}

// leave gives a stream's place in the fleet back, whoever has ended it.
func (s *Stream) leaveFleet(now int64) {
	if s.fleet == nil {
		return
	}
	place := s.fleet
	s.fleet = nil
	s.rule.worker.fleet.ended(place, now)
}

func (f *fleetSide) ended(place *fleetPlace, now int64) {
	place.member.Ended(now, &place.Stream)
	f.pump(place.member, now)
	f.remind(now)
}

// remind asks for a callback that carries out what is left, unless the running one does.
func (f *fleetSide) remind(now int64) {
	if len(f.verdicts)+len(f.ends) > 0 && !f.acting {
		f.worker.warn(f.worker.registry.Remind(now)) // if it is lost, the next tick goes on
	}
}

// pump sends what a member wants sent, until it wants nothing. It ends what [Streams.Enter] has
// chosen.
func (f *fleetSide) pump(m *member, now int64) {
	for {
		actions := m.Take()
		for _, v := range actions.Verdicts {
			if v.Stream.Of == f.running {
				f.verdict = &v
			} else {
				f.verdicts = append(f.verdicts, v)
			}
		}
		f.ends = append(f.ends, actions.Ends...)
		for _, d := range actions.Dismissals {
			f.dismissed(d)
		}
		if len(actions.Calls)+len(actions.Cancels) == 0 {
			break
		}
		for _, c := range actions.Calls {
			if err := f.send(m, c); err != nil {
				const unavailable = 14
				f.cancel(m, c.ID) // a stream may be open all the same
				m.Failed(now, c.ID, unavailable, err.Error())
			}
		}
		for _, id := range actions.Cancels {
			f.cancel(m, id)
		}
	}
}

func (f *fleetSide) send(m *member, c fleet.Call) (err error) {
	method := c.Request.Method()
	message := c.Request.Append(nil)
	call, opened := m.calls[c.ID]
	if !opened {
		if method.Streams() {
			call, err = f.worker.host.Open(m.cluster, method)
		} else {
			call, err = f.worker.host.Call(m.cluster, method, message, c.Timeout)
		}
		if err != nil {
			return err
		}
		m.calls[c.ID] = call
		f.calls[call] = sentCall{m, c.ID, method.Streams()}
	}
	if method.Streams() {
		err = f.worker.host.Send(call, message)
	}
	return err
}

// cancel ends a call whose answer is not wanted any more. A Txn is carried out all the same, or
// not.
func (f *fleetSide) cancel(m *member, id uint32) {
	if call, found := m.calls[id]; found {
		f.forget(call)
		f.worker.warn(f.worker.host.Cancel(call))
	}
}

func (f *fleetSide) forget(call uint32) {
	sent := f.calls[call]
	delete(f.calls, call)
	delete(sent.member.calls, sent.id)
}

// Answered is called when etcd has sent a message: the answer to a call, or the next message of a
// stream. The bytes are the worker's.
func (w *Worker) Answered(call uint32, message []byte) {
	sent, known := w.fleet.sent(call)
	if !known {
		return
	}
	w.acted = 0
	now := w.host.Now()
	if !sent.streams {
		w.fleet.forget(call)
	}
	sent.member.Answer(now, sent.id, message)
	w.fleet.pump(sent.member, now)
	w.fleet.carryOut(now)
}

// CallFailed is called when a call has failed, or a stream has ended, with gRPC's status and its
// message. The call may be one that [Calls] has never returned, as it could not be sent.
func (w *Worker) CallFailed(call uint32, status int, message string) {
	sent, known := w.fleet.sent(call)
	if !known {
		return
	}
	w.acted = 0
	now := w.host.Now()
	w.fleet.forget(call)
	sent.member.Failed(now, sent.id, status, message)
	w.fleet.pump(sent.member, now)
	w.fleet.carryOut(now)
}

func (f *fleetSide) sent(call uint32) (sent sentCall, known bool) {
	if f != nil {
		sent, known = f.calls[call]
	}
	return sent, known
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
	case s.phase >= leaving:
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

// tick is the fleet's housekeeping.
func (f *fleetSide) tick(now int64) {
	if f == nil {
		return
	}
	unregistered := 0
	for _, m := range f.members {
		f.setClock(m)
		m.Tick(now)
		f.pump(m, now)
		f.tell(m)
		_, n := m.Streams()
		unregistered += n
	}
	f.showUnregistered(unregistered)
	f.carryOut(now)
}

// tell logs once that etcd does not answer, and once that it answers again.
func (f *fleetSide) tell(m *member) {
	f.count(m)
	if m.Away() == m.away {
		return
	}
	m.away = m.Away()
	if m.away {
		f.worker.host.Log(Warn, fmt.Sprintf("fleet away cluster=%s fault=%q", m.cluster, m.Fault()))
	} else {
		f.worker.host.Log(Info, fmt.Sprintf("fleet back cluster=%s lease=%x", m.cluster, m.Lease()))
	}
}

// Leave gives back what the worker has in the fleet, at its end. Envoy may cancel the calls before
// they are on their way, as it does when it stops: then the leases end by their time.
func (w *Worker) Leave() {
	if w.fleet == nil {
		return
	}
	now := w.host.Now()
	for _, m := range w.fleet.members {
		m.Leave(now)
		w.fleet.pump(m, now)
		w.fleet.count(m)
	}
	w.fleet.showUnregistered(0)
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
// limit.
func (s *Stream) overloads(now int64) bool {
	w := s.rule.worker
	if w.config.MaxTotalStreams == 0 {
		return false
	}
	verdict, err := w.registry.Peek(now, &s.place)
	w.warn(err)
	return verdict.Refusal == policy.Overloaded
}

// obeyFleet does what the fleet has said about a request.
func (s *Stream) obeyFleet(v fleet.Verdict, request Request, now int64) admission {
	if v.Outcome == fleet.Proceed {
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

// turnAway refuses a request for good. It may wait for its answer, but in the fleet it ends now:
// one that etcd has not answered would else be registered, and others would end for it.
func (s *Stream) turnAway(v policy.Verdict, request Request, now int64) admission {
	s.fleet.refusal, s.fleet.wait = v.Refusal, v.Wait
	s.rule.worker.fleet.ended(s.fleet, now)
	s.reenter()
	if s.hold(now) {
		return waits
	}
	return s.obey(v, request, now)
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
	done, err := w.registry.Place(now, &s.place)
	w.warn(err)
	s.enter(claimed)
	w.countTakeovers(s, v.Superseded, w.host.WallClock())
	others := registry.Done{Released: done.Released, Deaths: done.Deaths, Swept: done.Swept}
	for _, end := range done.End {
		if end != &s.place {
			others.End = append(others.End, end)
		}
	}
	w.carryOut(others, now)
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

// fleetMetrics are those of an Envoy's part in a fleet.
type fleetMetrics struct {
	unavailable, returned, leasesLost, resyncs, ghosts, clockAhead, foreign Metric
	unregistered                                                            Metric
	claimMs                                                                 Metric
	shown                                                                   int // of unregistered
}

func (w *Worker) defineFleetMetrics() fleetMetrics {
	counter := func(name string) Metric { return w.define(Counter, metricPrefix+"fleet_"+name) }
	return fleetMetrics{
		unavailable:  counter("unavailable"),
		returned:     counter("returned"),
		leasesLost:   counter("leases_lost"),
		resyncs:      counter("resyncs"),
		ghosts:       counter("ghosts"),
		clockAhead:   counter("clock_ahead"),
		foreign:      counter("foreign"),
		unregistered: w.define(Gauge, metricPrefix+"fleet_unregistered"),
		claimMs:      w.define(Histogram, metricPrefix+"fleet_claim_ms"),
	}
}

// count brings the counters up to date.
func (f *fleetSide) count(m *member) {
	before, now := m.counted, m.Counts()
	m.counted = now
	w, metrics := f.worker, &f.metrics
	w.add(metrics.unavailable, now.Away-before.Away)
	w.add(metrics.returned, now.Returned-before.Returned)
	w.add(metrics.leasesLost, now.LeasesLost-before.LeasesLost)
	w.add(metrics.resyncs, now.Resyncs-before.Resyncs)
	w.add(metrics.ghosts, now.Ghosts-before.Ghosts)
	w.add(metrics.clockAhead, now.ClockAhead-before.ClockAhead)
	w.add(metrics.foreign, now.Foreign-before.Foreign)
	if n := now.Foreign - before.Foreign; n > 0 {
		w.warn(errors.New("etcd has keys or values under the fleet's prefix that are not the fleet's"))
	}
}

// showUnregistered changes the gauge, which all workers of the Envoy share.
func (f *fleetSide) showUnregistered(n int) {
	f.worker.add(f.metrics.unregistered, n-f.metrics.shown)
	f.metrics.shown = n
}
