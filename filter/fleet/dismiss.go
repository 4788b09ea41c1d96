package fleet

import (
	"slices"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// Dismissal answers a [Member.Dismiss].
type Dismissal struct {
	Client  ID
	Streams int    // whose members end them
	Fault   string // why others may live on; "": none does
}

// dismissal is one that is under way.
type dismissal struct {
	Dismissal
	tries  int   // Txns that have lost a race
	named  int   // streams that the Txn names
	newest Stamp // that was seen before the first Txn; newer streams stay
}

// Dismiss takes the places of all streams that a client has, at every Envoy. Their members are
// told, and end them. Streams that come later stay: a client that comes back at once would never be
// done with. The member that is called needs no lease, and no stream of that client.
func (m *Member) Dismiss(now int64, id ID) {
	m.now = now
	d := &dismissal{Dismissal: Dismissal{Client: id}}
	if m.away {
		m.dismissedAll(d, m.fault)
		return
	}
	m.seek(d)
}

// seek asks for the client's streams.
func (m *Member) seek(d *dismissal) {
	prefix := m.keys.client(d.Client)
	m.send(call{kind: seeking, dismissal: d}, etcd.RangeRequest{Key: prefix, End: etcd.PrefixEnd(prefix)}, m.config.Timeout)
}

// dismissSeen sends the Txn for the streams that a view shows: as many as fit, and none if one has
// come or gone meanwhile.
func (m *Member) dismissSeen(d *dismissal, v *view) {
	if d.Streams == 0 {
		d.newest = v.newest()
	}
	old := slices.DeleteFunc(slices.Clone(v.streams), func(s seen) bool { return s.Stamp > d.newest })
	if len(old) == 0 {
		m.dismissedAll(d, "")
		return
	}
	if d.tries == mostTries {
		m.dismissedAll(d, "the client's streams come and go too fast")
		return
	}
	prefix := m.keys.client(d.Client)
	all := etcd.RangeRequest{Key: prefix, End: etcd.PrefixEnd(prefix)}
	t := etcd.Txn{
		Compare: []etcd.Compare{{Key: all.Key, End: all.End, Target: etcd.ModLess, Revision: v.revision + 1}},
		Failure: []etcd.Op{all},
	}
	named := old[:min(len(old), mostYield)]
	for _, s := range named {
		key := m.keys.stream(d.Client, s.name)
		t.Compare = append(t.Compare, etcd.Compare{Key: key, Target: etcd.CreateEqual, Revision: s.created})
		t.Success = append(t.Success,
			etcd.DeleteRequest{Key: key},
			etcd.PutRequest{Key: m.keys.listed(s.name), Value: []byte(dismissed), IgnoreLease: true})
	}
	d.named = len(named)
	m.send(call{kind: dismissing, dismissal: d}, t, m.config.Timeout)
}

// dismissAnswered goes on after the Txn.
func (m *Member) dismissAnswered(d *dismissal, t etcd.TxnAnswer) {
	if t.Succeeded {
		d.Streams += d.named
		m.seek(d)
		return
	}
	d.tries++
	m.dismissSeen(d, m.look(d.Client, t.Range, t.Header.Revision))
}

func (m *Member) dismissedAll(d *dismissal, fault string) {
	d.Fault = fault
	m.out.Dismissals = append(m.out.Dismissals, d.Dismissal)
}
