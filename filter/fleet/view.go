package fleet

import (
	"cmp"
	"slices"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// mostYield is how many streams yield in one Txn: with two operations for each, and two for the
// newcomer, it stays below the 128 operations that etcd allows by default.
const mostYield = 62

// view is what a Range has shown of a client's streams. The zero view is that of a client without
// streams, before all revisions.
type view struct {
	revision int64
	era      int // see Member.era
	streams  []seen
	stale    []name // of this member, under leases that it has given up
}

// seen is a stream in a view.
type seen struct {
	name
	Record
	created, written int64 // revisions
}

// look makes a view of a client's streams. Keys and values that are not of this format are no
// streams.
func (m *Member) look(id ID, r etcd.Range, revision int64) *view {
	v := &view{revision: revision, era: m.era}
	prefix := m.keys.client(id)
	for kv := range r.KVs() {
		if len(kv.Key) != len(prefix)+nameSize || string(kv.Key[:len(prefix)]) != prefix {
			m.counts.Foreign++
			continue
		}
		n, ok := parseName(string(kv.Key[len(prefix):]))
		record, err := ParseRecord(kv.Value)
		switch {
		case !ok || err != nil:
			m.counts.Foreign++
		case slices.Contains(m.former, n.lease):
			v.stale = append(v.stale, n)
		default:
			v.streams = append(v.streams, seen{n, record, kv.CreateRevision, kv.ModRevision})
			const tolerated = 1000
			if int64(record.Stamp.millis()) > m.wall()+tolerated {
				m.counts.ClockAhead++
			}
		}
	}
	slices.SortFunc(v.streams, func(a, b seen) int {
		return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), cmp.Compare(uint64(a.lease), uint64(b.lease)), cmp.Compare(a.context, b.context))
	})
	return v
}

// find returns the stream that the view has under a name.
func (v *view) find(n name) (s seen, found bool) {
	at := slices.IndexFunc(v.streams, func(s seen) bool { return s.name == n })
	if at < 0 {
		return seen{}, false
	}
	return v.streams[at], true
}

// newest returns the largest stamp; 0 if there is no stream.
func (v *view) newest() Stamp {
	if len(v.streams) == 0 {
		return 0
	}
	return v.streams[len(v.streams)-1].Stamp
}

// client returns what package policy decides on: the streams besides the named one, with the memory
// that the newest stream has.
func (v *view) client(but name) policy.Client {
	var c policy.Client
	for _, s := range v.streams {
		if s.name != but {
			c.Streams = append(c.Streams, policyStream(s.name, s.Stamp, s.Instance))
		}
		c.Spent, c.Reconnects, c.Superseded = s.Spent, s.Reconnects, s.Superseded
	}
	return c
}

func policyStream(n name, stamp Stamp, instance policy.Instance) policy.Stream {
	return policy.Stream{
		Claim: uint64(stamp), Owner: n.owner(), Context: n.context,
		ClaimedAt: int64(stamp.millis()), Instance: instance,
	}
}

// plan is what a Txn does if nothing has changed since its view.
type plan struct {
	name
	Record
	yield []policy.Stream // oldest first
}

// more reports whether more streams are to yield than one Txn can name.
func (p plan) more() bool { return len(p.yield) > mostYield }

// txn returns the claim or return of p under v.
//
// Two things are compared. No key of the client may have been written since: with that, of two
// claims on one view only the first is carried out. And if some yield, those that stay must still
// be there: else a stream would yield to nobody. The first does not see that a key has gone.
func (m *Member) txn(id ID, p plan, v *view) etcd.Txn {
	prefix := m.keys.client(id)
	all := etcd.RangeRequest{Key: prefix, End: etcd.PrefixEnd(prefix)}
	t := etcd.Txn{
		Compare: []etcd.Compare{{Key: all.Key, End: all.End, Target: etcd.ModLess, Revision: v.revision + 1}},
		Success: []etcd.Op{
			etcd.PutRequest{Key: prefix + p.name.String(), Value: p.Append(nil), Lease: p.lease},
			etcd.PutRequest{Key: m.keys.listed(p.name), Value: appendID(id), Lease: p.lease},
		},
		Failure: []etcd.Op{all},
	}
	if len(p.yield) > 0 {
		for _, s := range v.streams {
			yields := slices.ContainsFunc(p.yield, func(y policy.Stream) bool { return nameOf(y) == s.name })
			if !yields && s.name != p.name {
				t.Compare = append(t.Compare, etcd.Compare{Key: prefix + s.name.String(), Target: etcd.CreateEqual, Revision: s.created})
			}
		}
	}
	named := p.yield[:min(len(p.yield), mostYield)]
	for _, s := range named {
		t.Success = append(t.Success, m.deletes(id, nameOf(s))...)
	}
	for _, n := range v.stale[:min(len(v.stale), mostYield-len(named))] {
		t.Success = append(t.Success, m.deletes(id, n)...)
	}
	return t
}

// deletes removes both keys of a stream, under its own name.
func (m *Member) deletes(id ID, n name) []etcd.Op {
	return []etcd.Op{etcd.DeleteRequest{Key: m.keys.stream(id, n)}, etcd.DeleteRequest{Key: m.keys.listed(n)}}
}
