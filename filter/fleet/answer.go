package fleet

import (
	"fmt"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// Answer gives the member the answer to a call, or a message of a stream. The member keeps nothing
// of message. An answer to a call that the member does not know is ignored.
func (m *Member) Answer(now int64, id uint32, message []byte) {
	m.now = now
	c, found := m.calls[id]
	if !found {
		return
	}
	if c.kind != watching && c.kind != keepingAlive {
		delete(m.calls, id)
	}
	if err := m.read(c, id, message); err != nil {
		m.forgetCall(id)
		m.failed(c, id, 0, err.Error())
	}
	m.run()
}

// Failed tells the member that a call has failed, or that a stream has ended, with a status of
// gRPC. A call that was not answered in time has failed, too.
func (m *Member) Failed(now int64, id uint32, status int, message string) {
	m.now = now
	if c, found := m.calls[id]; found {
		delete(m.calls, id)
		m.failed(c, id, status, message)
		m.run()
	}
}

// read reads the answer to a call.
func (m *Member) read(c call, id uint32, message []byte) error {
	switch c.kind {
	case looking, listing, counting, probing, seeking:
		r, err := etcd.ParseRange(message)
		if err == nil && r.More {
			err = fmt.Errorf("%w: a part of a range, want all of it", etcd.ErrMalformed)
		}
		if err != nil {
			return err
		}
		same := m.heard(c, r.Header)
		m.readRange(c, r, same)
	case claiming:
		t, err := etcd.ParseTxn(message)
		if err != nil {
			return err
		}
		m.heard(c, t.Header)
		m.answered(c.stream)
		if t.Succeeded {
			m.carriedOut(c.stream, c.lease, t.Header.Revision)
		} else if c.lease != m.lease {
			m.again(c.stream)
		} else {
			m.lostRace(c.stream, m.look(c.stream.Client, t.Range, t.Header.Revision))
		}
	case dismissing:
		t, err := etcd.ParseTxn(message)
		if err != nil {
			return err
		}
		m.heard(c, t.Header)
		m.dismissAnswered(c.dismissal, t)
	case releasing:
		t, err := etcd.ParseTxn(message)
		if err != nil {
			return err
		}
		m.heard(c, t.Header)
		m.watch.changes++
		if m.releases[c.context].call == id {
			delete(m.releases, c.context)
		}
	case granting, keepingAlive, revoking:
		l, err := etcd.ParseLease(message)
		if err != nil {
			return err
		}
		same := m.heard(c, l.Header)
		m.readLease(c, l, same)
	case planting:
		h, err := etcd.ParsePut(message)
		if err != nil {
			return err
		}
		if m.heard(c, h) && m.joining {
			m.planted(c.lease, h.Revision)
		} else {
			m.joining = false
			m.startJoin()
		}
	case watching:
		w, err := etcd.ParseWatch(message)
		if err != nil {
			return err
		}
		if m.heard(c, w.Header) {
			m.changed(w)
		}
		switch {
		case m.watch.call != id:
		case w.Canceled:
			m.wentWrong(brief("watch cancelled: " + string(w.Reason)))
			m.watch.end(m)
			m.resume()
		case w.Created && !m.away:
			m.fault = ""
		}
	}
	return nil
}

func (m *Member) readRange(c call, r etcd.Range, same bool) {
	switch c.kind {
	case looking:
		m.answered(c.stream)
		m.seen(c.stream, m.look(c.stream.Client, r, r.Header.Revision))
	case seeking:
		m.dismissSeen(c.dismissal, m.look(c.dismissal.Client, r, r.Header.Revision))
	case listing:
		if c.lease == m.lease && m.lease != 0 && same {
			m.listed(r, r.Header.Revision)
		}
	case counting:
		if c.lease == m.lease && same {
			m.counted(r.Count)
		}
	case probing:
		m.back()
	}
}

func (m *Member) readLease(c call, l etcd.Lease, same bool) {
	switch {
	case c.kind == granting && m.joining:
		switch {
		case !same:
			m.goAway(otherEtcd)
		case l.ID == 0 || l.TTL <= 0:
			m.goAway(fmt.Sprintf("lease %x for %d s, want an id and a time", l.ID, l.TTL))
		default:
			m.granted(l)
		}
	case c.kind == keepingAlive && l.ID == m.lease && l.TTL <= 0:
		m.loseLease("etcd has ended it")
	}
}

// brief returns the beginning of what etcd has said, or a proxy in front of it.
func brief(fault string) string { return fault[:min(len(fault), 256)] }

// answered notes that no call is under way for s.
func (m *Member) answered(s *Stream) { s.call, s.sending = 0, false }

// again begins the claim or the return of s again, after its Txn was not carried out because its
// lease had gone.
func (m *Member) again(s *Stream) {
	if s.state.in() {
		m.settle(s, Unregistered)
		return
	}
	s.sent, s.view = 0, nil
	m.claim(s)
}

// failed goes on after a call has failed.
func (m *Member) failed(c call, id uint32, status int, message string) {
	fault := brief(message) // of an answer that could not be read
	if status != 0 {
		fault = brief(fmt.Sprintf("status %d: %s", status, message))
	}
	if c.dismissal != nil { // for an operator, who can try again
		m.dismissedAll(c.dismissal, fault)
		return
	}
	if etcd.LeaseLost(status, message) && (c.kind == claiming || c.kind == planting || c.kind == keepingAlive) {
		if c.lease == m.lease && m.lease != 0 {
			m.loseLease(fault)
		}
		switch c.kind {
		case claiming:
			m.answered(c.stream)
			m.again(c.stream)
		case planting:
			m.goAway(fault)
		case keepingAlive:
			if m.keepAlive == id {
				m.keepAlive = 0
			}
		}
		return
	}
	switch c.kind {
	case watching:
		m.wentWrong(fault)
		m.watch.end(m)
		if !m.away && m.lease != 0 {
			m.resume()
		}
		return
	case keepingAlive:
		m.keepAlive = 0
		m.keptAlive = m.now - m.interval // the next tick tries again
		return
	case revoking:
		return
	case releasing:
		if r := m.releases[c.context]; r.call == id {
			m.release(c.context, r.id, r.known)
		}
	}
	if !c.hurried {
		m.goAway(fault) // gives the verdict on the call's stream, too, if no Txn was sent for it
	}
	s := c.stream
	if s == nil {
		return
	}
	sent := s.sending
	m.answered(s)
	switch {
	case s.state == Returning && s.revision != 0 && !s.more:
		m.registered(s, 0)
	case s.state == Returning:
		m.settle(s, Unregistered)
	case s.state == Claiming && sent:
		m.letIn(s, Unconfirmed)
	case s.state == Looking || s.state == Claiming:
		m.unavailable(s)
	}
}
