package fleet

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// fingerprint names a world: two worlds with one fingerprint have the same future. Revisions and
// the ids of calls count only by their order, so they are given by their ranks.
func (w *world) fingerprint() [16]byte {
	var p printer
	p.world(w)
	rank := func(all []int64) map[int64]int64 {
		slices.Sort(all)
		ranks := map[int64]int64{}
		for n, v := range slices.Compact(all) {
			ranks[v] = int64(n)
		}
		return ranks
	}
	revisions, calls := rank(append(p.revisions, 0)), rank(append(p.calls, 0))
	b := make([]byte, 0, 9*len(p.tokens))
	for _, t := range p.tokens {
		v := t.value
		switch t.class {
		case aRevision:
			v = revisions[v]
		case aCall:
			v = calls[v]
		}
		b = binary.AppendVarint(append(b, t.class), v)
	}
	return md5.Sum(b)
}

const (
	plain byte = iota
	aRevision
	aCall
)

type token struct {
	class byte
	value int64
}

type printer struct {
	tokens           []token
	revisions, calls []int64
}

func (p *printer) put(values ...int64) {
	for _, v := range values {
		p.tokens = append(p.tokens, token{plain, v})
	}
}

func (p *printer) flag(values ...bool) {
	for _, v := range values {
		if v {
			p.put(1)
		} else {
			p.put(0)
		}
	}
}

func (p *printer) revision(values ...int64) {
	for _, v := range values {
		p.tokens = append(p.tokens, token{aRevision, v})
		p.revisions = append(p.revisions, v)
	}
}

func (p *printer) call(values ...uint32) {
	for _, v := range values {
		p.tokens = append(p.tokens, token{aCall, int64(v)})
		p.calls = append(p.calls, int64(v))
	}
}

func (p *printer) text(s string) {
	p.put(int64(len(s)))
	for len(s) > 0 {
		n := min(8, len(s))
		var b [8]byte
		copy(b[:], s[:n])
		p.put(int64(binary.BigEndian.Uint64(b[:])))
		s = s[n:]
	}
}

func (p *printer) world(w *world) {
	p.put(w.now, int64(w.down), int64(w.left.losses), int64(w.left.ends), int64(w.left.breaks), int64(w.left.expiries), int64(w.left.outages), int64(w.left.crashes))
	p.text(w.broken)
	p.revision(w.etcd.Revision)
	p.put(w.etcd.Granted, int64(w.etcd.Cluster))
	p.put(int64(len(w.etcd.Leases)))
	for _, l := range w.etcd.Leases {
		p.put(l.ID)
	}
	p.put(int64(len(w.etcd.Keys)))
	for _, k := range w.etcd.Keys {
		p.text(k.Name)
		p.text(k.Value)
		p.revision(k.Created, k.Written)
	}
	for _, e := range w.envoys {
		p.put(int64(len(e.client.Streams)))
		for _, s := range e.client.Streams {
			p.put(int64(s.Claim), int64(s.Context))
		}
	}
	p.put(int64(len(w.strays)))
	for _, t := range w.strays {
		p.txn(t)
	}
	p.put(int64(len(w.opened)))
	for _, s := range w.opened {
		p.put(int64(s.worker), int64(s.condition), int64(s.place))
		p.flag(s.yielded, s.raced)
		p.stream(s.Stream)
	}
	for i := range w.works {
		p.worker(w, i)
	}
}

func (p *printer) txn(t etcd.Txn) {
	p.put(int64(len(t.Compare)))
	for _, c := range t.Compare {
		p.text(c.Key)
		p.revision(c.Revision)
	}
	p.put(int64(len(t.Success)))
	for _, op := range t.Success {
		p.text(string(op.Append(nil)))
	}
}

func (p *printer) stream(s *Stream) {
	p.put(int64(s.state), int64(s.stamp), int64(s.tries), s.sent, s.plan.lease, int64(s.plan.Stamp), int64(s.waited))
	p.revision(s.revision, s.doubt)
	p.call(s.call)
	p.flag(s.sending, s.more, s.view != nil, s.queued)
	for _, y := range s.plan.yield {
		p.put(int64(y.Claim))
	}
	if s.view != nil {
		p.revision(s.view.revision)
		p.put(int64(len(s.view.streams)), int64(s.view.era))
		for _, v := range s.view.streams {
			p.put(v.lease, int64(v.context), int64(v.Stamp))
			p.revision(v.created, v.written)
		}
	}
}

func (p *printer) worker(w *world, i int) {
	me := &w.works[i]
	m := me.member
	p.put(m.lease, int64(me.life), int64(me.draws), int64(len(m.former)), int64(m.era))
	p.put(m.former...)
	p.revision(m.revision)
	p.flag(m.joining, m.away, m.watch.resumed, me.watch != 0)
	p.call(m.watch.call, m.keepAlive)
	for _, n := range slices.Sorted(maps.Keys(m.releases)) {
		p.put(int64(n))
		p.call(m.releases[n].call)
	}
	for _, n := range m.unsent {
		p.put(int64(n))
	}
	for _, n := range slices.Sorted(maps.Keys(m.calls)) {
		c := m.calls[n]
		p.call(n)
		p.revision(c.floor)
		p.put(int64(c.kind), c.lease, int64(c.era))
		p.flag(c.hurried)
	}
	for _, q := range m.queues {
		for _, s := range q {
			p.put(int64(s.Context))
		}
	}
	for _, s := range m.turns {
		p.put(int64(s.Context))
	}
	p.put(int64(len(me.calls)))
	for _, c := range slices.SortedFunc(slices.Values(me.calls), func(a, b pending) int { return cmp.Compare(a.ID, b.ID) }) {
		p.call(c.ID)
		p.flag(c.done)
		if c.done {
			p.text(string(c.answer)) // has revisions as they are
			p.flag(c.failed != nil)
		}
		if t, ok := c.Request.(etcd.Txn); ok {
			p.txn(t)
		}
	}
	if me.watch != 0 {
		for told := me.told; len(told.Next(w.etcd)) > 0; told.Tell(w.etcd) {
			for _, c := range told.Next(w.etcd) {
				p.text(c.Key)
				p.flag(c.Deleted)
				p.revision(c.Revision)
			}
		}
	}
}
