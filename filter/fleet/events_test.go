package fleet

import (
	"fmt"
	"maps"
	"slices"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/fleet/etcdtest"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// event is something that can happen next.
type event struct {
	what string
	i, n int // a worker and a call, a lease, or whatever what is about
}

func (e event) String() string { return fmt.Sprintf("%s %d %d", e.what, e.i, e.n) }

// events lists what can happen next.
func (w *world) events() []event {
	var all []event
	add := func(what string, i, n int) { all = append(all, event{what, i, n}) }
	for i := range w.works {
		me := &w.works[i]
		reaches := w.reaches(i)
		if len(w.opened) < w.config.streams {
			add("open", i, 0)
		}
		for n, p := range me.calls {
			if idle(p.Request) {
				continue
			}
			if reaches && !p.done {
				add("execute", i, n)
			}
			if reaches && p.done {
				add("answer", i, n)
			}
			if !reaches || w.left.losses > 0 {
				add("time out", i, n)
			}
		}
		if reaches && len(w.changes(i)) > 0 {
			add("tell", i, 0)
		}
		if w.left.breaks > 0 && me.watch != 0 {
			add("break", i, 0)
		}
		if reaches && w.leaseGone(i) {
			add("say gone", i, 0)
		}
		if reaches && me.member.away {
			add("tick", i, 0)
		}
		if w.left.crashes > 0 {
			add("crash", i, 0)
		}
	}
	for k, s := range w.opened {
		if w.left.ends > 0 && (s.condition == live || s.condition == waiting) {
			add("hang up", k, 0)
		}
		if s.condition == cut && slices.ContainsFunc(w.envoys[w.works[s.worker].envoy].client.Streams, s.local.Is) {
			add("sweep", k, 0)
		}
	}
	for n := range w.strays {
		add("late", n, 0)
		add("lost", n, 0)
	}
	for _, lease := range w.etcd.Leases {
		if owned := w.owned(lease.ID); !owned || w.left.expiries > 0 {
			add("expire", int(lease.ID), 0)
		}
	}
	switch {
	case w.down != 0:
		add("outage over", 0, 0)
	case w.left.outages > 0:
		everybody := 1<<len(w.works) - 1
		add("outage", everybody, 0)
		for e := range w.envoys {
			mask := 0
			for i := range w.works {
				if w.works[i].envoy == e {
					mask |= 1 << i
				}
			}
			if mask != everybody {
				add("outage", mask, 0)
			}
		}
	}
	return all
}

// do makes an event happen.
func (w *world) do(e event) {
	switch e.what {
	case "open":
		w.open(e.i)
	case "execute":
		w.execute(e.i, e.n)
	case "answer":
		w.answer(e.i, e.n)
	case "time out":
		if w.reaches(e.i) {
			w.left.losses--
		}
		w.timeOut(e.i, e.n)
	case "tell":
		w.tell(e.i)
	case "break":
		w.left.breaks--
		call := w.works[e.i].watch
		w.works[e.i].watch = 0
		w.works[e.i].member.Failed(w.clock(e.i), call, etcdtest.NoAnswer.Status, etcdtest.NoAnswer.Message)
		w.act(e.i)
	case "say gone":
		w.sayGone(e.i)
	case "tick":
		w.tick(e.i)
	case "crash":
		w.left.crashes--
		w.crash(e.i)
	case "hang up":
		w.left.ends--
		s := w.opened[e.i]
		w.over(s, hung)
		w.works[s.worker].member.Ended(w.clock(s.worker), s.Stream)
		w.act(s.worker)
	case "sweep":
		w.forget(w.opened[e.i])
	case "late":
		t := w.strays[e.i]
		w.strays = slices.Delete(w.strays, e.i, e.i+1)
		_, _ = w.carry(t)
	case "lost":
		w.strays = slices.Delete(w.strays, e.i, e.i+1)
	case "expire":
		if w.owned(int64(e.i)) {
			w.left.expiries--
		}
		w.etcd.Expire(int64(e.i))
	case "outage":
		w.left.outages--
		w.down = e.i
	case "outage over":
		w.down = 0
	}
}

// execute carries out a call; its answer is on its way then. A look is answered at once.
func (w *world) execute(i, n int) {
	p := &w.works[i].calls[n]
	if _, ok := p.Request.(etcd.WatchRequest); ok {
		call := p.Call
		w.works[i].calls = slices.Delete(w.works[i].calls, n, n+1)
		w.sent(i, call)
		return
	}
	p.done = true
	if t, ok := p.Request.(etcd.Txn); ok {
		p.answer, p.failed = w.carry(t)
		if len(t.Compare) > 0 && p.failed == nil {
			return
		}
	} else {
		p.answer, p.failed = w.etcd.Do(p.Request)
		if r, ok := p.Request.(etcd.RangeRequest); !ok || r.Key[:len("p/1/m")] == "p/1/m" {
			return
		}
	}
	w.answer(i, n)
}

func (w *world) answer(i, n int) {
	me := &w.works[i]
	p := me.calls[n]
	me.calls = slices.Delete(me.calls, n, n+1)
	w.deliver(i, p)
	w.act(i)
}

func (w *world) timeOut(i, n int) {
	me := &w.works[i]
	p := me.calls[n]
	me.calls = slices.Delete(me.calls, n, n+1)
	if t, ok := p.Request.(etcd.Txn); ok && !p.done {
		w.strays = append(w.strays, t)
	}
	me.member.Failed(w.clock(i), p.ID, etcdtest.NoAnswer.Status, etcdtest.NoAnswer.Message)
	w.act(i)
}

func (w *world) tick(i int) {
	w.works[i].member.Tick(w.clock(i))
	w.act(i)
}

// leaseGone reports whether the lease of worker i has ended and it does not know yet.
func (w *world) leaseGone(i int) bool {
	lease := w.works[i].member.lease
	return lease != 0 && !w.etcd.Lives(lease)
}

// sayGone answers a keepalive with no time left.
func (w *world) sayGone(i int) {
	m := w.works[i].member
	if m.keepAlive != 0 {
		answer, _ := w.etcd.Do(etcd.LeaseKeepAliveRequest{ID: m.lease})
		m.Answer(w.clock(i), m.keepAlive, answer)
		w.act(i)
	}
}

// clone returns a copy of the world that shares nothing that changes.
func (w *world) clone() *world {
	c := *w
	c.etcd = w.etcd.Clone()
	c.envoys = make([]envoy, len(w.envoys))
	for e := range w.envoys {
		c.envoys[e].client = w.envoys[e].client.Without(func(policy.Stream) bool { return false }, w.now)
	}
	c.strays = slices.Clone(w.strays)
	c.opened = make([]*opened, len(w.opened))
	for k, s := range w.opened {
		o, handle := *s, *s.Stream
		o.Stream = &handle
		c.opened[k] = &o
	}
	twin := func(s *Stream) *Stream {
		if s == nil {
			return nil
		}
		return c.opened[s.Context].Stream
	}
	c.works = slices.Clone(w.works)
	for i := range c.works {
		me := &c.works[i]
		me.calls = slices.Clone(me.calls)
		m := *me.member
		m.local, m.random = c.local(i), c.random(i)
		m.streams, m.turns, m.queues = maps.Clone(m.streams), maps.Clone(m.turns), maps.Clone(m.queues)
		m.releases, m.calls, m.given = maps.Clone(m.releases), maps.Clone(m.calls), maps.Clone(m.given)
		m.former, m.freed, m.unsent = slices.Clone(m.former), slices.Clone(m.freed), slices.Clone(m.unsent)
		for k, s := range m.streams {
			m.streams[k] = twin(s)
		}
		for k, s := range m.turns {
			m.turns[k] = twin(s)
		}
		for k, q := range m.queues {
			m.queues[k] = slices.Clone(q)
			for n, s := range q {
				m.queues[k][n] = twin(s)
			}
		}
		for k, call := range m.calls {
			call.stream = twin(call.stream)
			m.calls[k] = call
		}
		me.member = &m
	}
	return &c
}
