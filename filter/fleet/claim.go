package fleet

import (
	"cmp"
	"slices"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// Look asks whether s would be refused now, before the backend has any work. A verdict answers it,
// perhaps at once.
func (m *Member) Look(now int64, s *Stream) {
	m.now = now
	if s.state != Outside {
		return
	}
	m.streams[s.Context] = s
	m.set(s, Looking)
	s.since = now
	if m.away {
		m.unavailable(s)
	} else {
		m.startJoin()
		m.sendLook(s)
	}
	m.run()
}

// Claim registers s as its client's newest stream. A verdict answers it, perhaps at once.
func (m *Member) Claim(now int64, s *Stream) {
	m.now = now
	if s.state != Outside && s.state != Looked {
		return
	}
	m.streams[s.Context] = s
	m.set(s, Waiting)
	s.since, s.tries, s.more = now, 0, false
	s.queued = m.turns[s.Client] != nil
	switch {
	case m.away:
		m.unavailable(s)
	case s.queued:
		m.queues[s.Client] = append(m.queues[s.Client], s)
	default:
		m.turns[s.Client] = s
		m.claim(s)
	}
	m.run()
}

// Ended tells the member that s has ended, for whatever reason: by its backend or client, or
// because the Envoy's own registry made it yield. Its keys are removed, if they may be there.
func (m *Member) Ended(now int64, s *Stream) {
	m.now = now
	if s.state == Outside {
		return
	}
	sent := s.sent
	m.forget(s)
	if sent != 0 && sent == m.lease {
		m.release(s.Context, s.Client, true)
	}
	m.run()
}

// Gone reports whether etcd can have nothing more of a stream that has ended. Before that it must
// not be claimed again: the Txn that removes it could come late.
func (m *Member) Gone(s *Stream) bool {
	_, releasing := m.releases[s.Context]
	return s.state == Outside && !releasing
}

// forget takes s from the member.
func (m *Member) forget(s *Stream) {
	delete(m.streams, s.Context)
	m.forgetCall(s.call)
	s.call, s.sending = 0, false
	m.settle(s, Outside)
	m.queues[s.Client] = slices.DeleteFunc(m.queues[s.Client], func(q *Stream) bool { return q == s })
	if len(m.queues[s.Client]) == 0 {
		delete(m.queues, s.Client)
	}
}

// settle moves s to a state in which it has no turn. If others wait for the turn, run gives it to
// the first of them.
func (m *Member) settle(s *Stream, next State) {
	m.set(s, next)
	s.view, s.doubt = nil, 0
	if m.turns[s.Client] != s {
		return
	}
	delete(m.turns, s.Client)
	if len(m.queues[s.Client]) > 0 {
		m.freed = append(m.freed, s.Client)
	}
}

// left returns how long the caller of s may still have to wait.
func (m *Member) left(s *Stream) policy.Millis {
	return m.config.Timeout - s.waited - policy.Millis(m.now-s.since)
}

// ask sends a call for s. A newcomer waits no longer than its caller.
func (m *Member) ask(s *Stream, k kind, r etcd.Request) {
	c, timeout := call{kind: k, stream: s}, m.config.Timeout
	if !s.state.in() {
		timeout = max(1, m.left(s))
		c.hurried = s.queued && timeout < m.config.Timeout/2
	}
	s.call = m.send(c, r, timeout)
}

func (m *Member) sendLook(s *Stream) {
	prefix := m.keys.client(s.Client)
	m.ask(s, looking, etcd.RangeRequest{Key: prefix, End: etcd.PrefixEnd(prefix)})
}

// claim goes on with the claim of s, which has its turn.
func (m *Member) claim(s *Stream) {
	m.set(s, Waiting)
	if m.lease == 0 {
		m.startJoin()
	}
	switch {
	case m.away:
		m.unavailable(s)
	case m.left(s) <= 0:
		m.contended(s)
	case m.lease == 0: // planted goes on
	case s.view == nil || s.view.era != m.era:
		m.set(s, Claiming)
		m.sendLook(s)
	default:
		m.set(s, Claiming)
		m.decide(s)
	}
}

// name returns the name of s under the member's lease.
func (m *Member) name(s *Stream) name { return name{m.lease, s.Context} }

// newest returns the largest stamp among the streams in this Envoy that the client of s has. The
// caller does not know yet of those whose verdict it has not taken, and of the one whose Txn is
// under way.
func (m *Member) newest(s *Stream) Stamp {
	newest, id := m.local.Newest(s), s.Client
	if first := m.turns[id]; first != nil && first.sending {
		newest = max(newest, first.plan.Stamp)
	}
	return max(newest, m.given[id])
}

// give gives a verdict.
func (m *Member) give(v Verdict) {
	m.out.Verdicts = append(m.out.Verdicts, v)
	if v.Stamp > 0 {
		m.given[v.Stream.Client] = max(m.given[v.Stream.Client], v.Stamp)
	}
}

// decide decides about s on its view, and sends its Txn.
func (m *Member) decide(s *Stream) {
	me := m.name(s)
	client := s.view.client(me)
	p := plan{name: me, Record: Record{Stamp: s.stamp, Instance: s.Instance}}
	var verdict policy.Verdict
	if s.state.in() {
		verdict = policy.Return(client, policyStream(me, s.stamp, s.Instance), s.Limits.MaxStreams, m.wall())
		if slices.ContainsFunc(verdict.Superseded, func(y policy.Stream) bool { return nameOf(y) == me }) {
			m.end(s, Superseded)
			return
		}
	} else {
		p.Stamp = after(max(s.view.newest(), m.newest(s)), m.wall(), m.random())
		verdict = policy.Decide(client, policyStream(me, p.Stamp, s.Instance), *s.Limits, false, m.wall())
		if verdict.Refusal != 0 {
			m.refuse(s, verdict.Refusal, verdict.Wait)
			return
		}
	}
	p.Memory = verdict.Next.Memory()
	if len(client.Streams) == 0 && s.state.in() {
		p.Memory = s.memory
	}
	p.yield = verdict.Superseded
	s.more = s.more || p.more()
	s.plan, s.sent, s.doubt, s.sending = p, m.lease, 0, true
	m.ask(s, claiming, m.txn(s.Client, p, s.view))
}

// seen goes on with s after a Range has shown its client's streams.
func (m *Member) seen(s *Stream, v *view) {
	s.view = v
	if s.state == Looking {
		verdict := policy.Decide(v.client(name{}), policyStream(m.name(s), after(v.newest(), m.wall(), 0), s.Instance), *s.Limits, false, m.wall())
		if verdict.Refusal != 0 {
			m.refuse(s, verdict.Refusal, verdict.Wait)
			return
		}
		m.set(s, Looked)
		s.waited += policy.Millis(m.now - s.since)
		m.give(Verdict{Stream: s, Outcome: Proceed})
		return
	}
	// An earlier Txn was carried out, perhaps without an answer. If more were to yield to it than
	// one Txn can name, this one names the rest.
	if own, found := v.find(m.name(s)); found && s.state.in() && !s.more {
		m.registered(s, own.written)
		return
	}
	if m.lease == 0 { // it was lost meanwhile; planted goes on
		m.set(s, Waiting)
		return
	}
	m.decide(s)
}

// carriedOut notes that the last Txn of s was carried out at a revision, under a lease that the
// member may have lost meanwhile.
func (m *Member) carriedOut(s *Stream, lease, revision int64) {
	known := lease == m.lease && (s.doubt == 0 || revision > s.doubt)
	newcomer := !s.state.in()
	s.stamp, s.memory, s.more = s.plan.Stamp, s.plan.Memory, s.plan.more()
	if newcomer {
		m.give(Verdict{Stream: s, Outcome: Admitted, Stamp: s.stamp, Memory: s.memory, Superseded: s.plan.yield})
	}
	switch {
	case known && s.more:
		s.revision, s.tries = max(s.revision, revision), 0
		m.settle(s, Unregistered) // and look at once for those that are still to yield
	case known:
		if !newcomer {
			m.counts.Returned++
		}
		m.registered(s, revision)
	default:
		m.settle(s, Unregistered)
	}
}

// registered notes that s is registered since a revision, under the member's lease.
func (m *Member) registered(s *Stream, revision int64) {
	s.revision = max(s.revision, revision)
	s.sent = m.lease
	m.watch.changes++
	m.settle(s, Registered)
}

// lostRace goes on with s after its Txn was not carried out, because the client's streams have
// changed. v is how they are now.
func (m *Member) lostRace(s *Stream, v *view) {
	if !s.state.in() {
		s.sent = 0 // it was the only one
	}
	if s.state.in() && v.revision <= s.doubt {
		m.settle(s, Unregistered) // a later list did not have it: look again
		return
	}
	if s.tries++; s.tries < mostTries && (s.state.in() || m.left(s) > 0) {
		m.seen(s, v)
		return
	}
	m.contended(s)
}

// contended gives up for now: others were faster too often, or for too long.
func (m *Member) contended(s *Stream) {
	switch {
	case s.state.in():
		m.settle(s, Unregistered) // a tick tries again
	case s.RefuseContended:
		m.refuse(s, policy.Contended, 0)
	case s.RefuseUnavailable && m.left(s) <= 0:
		m.unavailable(s)
	default:
		m.letIn(s, Alone)
	}
}

// unavailable gives the verdict on a newcomer that cannot wait for etcd any longer, and of which no
// Txn may be carried out any more.
func (m *Member) unavailable(s *Stream) {
	m.forgetCall(s.call)
	s.call = 0
	switch {
	case s.RefuseUnavailable:
		m.give(Verdict{Stream: s, Outcome: Unavailable})
		m.forget(s)
	case s.state == Looking:
		m.set(s, Looked)
		s.waited += policy.Millis(m.now - s.since)
		m.give(Verdict{Stream: s, Outcome: Proceed})
	default:
		m.letIn(s, Alone)
	}
}

// letIn lets a newcomer in that is not registered, as far as the member knows. If its Txn may have
// been carried out, others may have ended for it. So it is never refused then, and it keeps the
// stamp that it was sent with.
func (m *Member) letIn(s *Stream, how Outcome) {
	verdict := Verdict{Stream: s, Outcome: how}
	if how == Unconfirmed {
		m.counts.Unconfirmed++
		s.stamp, s.memory = s.plan.Stamp, s.plan.Memory
		verdict.Superseded = s.plan.yield
	} else {
		s.stamp = after(m.newest(s), m.wall(), m.random())
	}
	verdict.Stamp, verdict.Memory = s.stamp, s.memory
	m.give(verdict)
	s.tries = 0
	if how == Alone { // the caller may refuse it yet: a tick begins the return
		s.tries = mostTries
	}
	m.settle(s, Unregistered)
}

func (m *Member) refuse(s *Stream, why policy.Refusal, wait policy.Millis) {
	m.give(Verdict{Stream: s, Outcome: Refused, Refusal: why, Wait: wait})
	m.forget(s)
}

// end ends s, which has lost its place in etcd.
func (m *Member) end(s *Stream, why Why) {
	if s.state.in() {
		m.out.Ends = append(m.out.Ends, End{s, why})
	} else {
		m.give(Verdict{Stream: s, Outcome: Overtaken})
	}
	m.forget(s)
}

// startReturns registers streams that are in and not registered, newest first, many at a time: it
// looks at all streams.
func (m *Member) startReturns() {
	if m.away || m.lease == 0 || m.number[Unregistered] == 0 || m.number[Returning] > mostReturning/2 {
		return
	}
	var ready []*Stream
	for _, s := range m.streams {
		if s.state == Unregistered && m.turns[s.Client] == nil && s.tries < mostTries {
			ready = append(ready, s)
		}
	}
	slices.SortFunc(ready, func(a, b *Stream) int {
		return cmp.Or(cmp.Compare(b.stamp, a.stamp), cmp.Compare(a.Context, b.Context))
	})
	for _, s := range ready {
		if m.turns[s.Client] == nil && m.number[Returning] < mostReturning {
			m.turns[s.Client] = s
			m.set(s, Returning)
			s.view = &view{era: m.era}
			m.decide(s)
		}
	}
}
