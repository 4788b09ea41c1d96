package fleet

import (
	"maps"
	"slices"
	"strconv"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// watch is what a member knows of its watch on its own keys.
type watch struct {
	call    uint32 // 0: it is broken
	resumed bool   // since the last tick; it is not resumed twice
	counted int64  // when the keys were last counted
	changes int    // of the number of keys, as far as the member knows
	asked   int    // changes, when the count was asked for
	wrong   int    // counts in a row that did not fit
}

func (w *watch) end(m *Member) {
	m.forgetCall(w.call)
	w.call, w.wrong = 0, 0
}

// watchFrom begins to watch the own keys from a revision on.
func (m *Member) watchFrom(revision int64) {
	prefix := m.keys.member(m.lease)
	m.watch.call = m.send(call{kind: watching}, etcd.WatchRequest{Key: prefix, End: etcd.PrefixEnd(prefix), StartRevision: revision}, 0)
}

// resume lists the own keys if the watch is broken, and then watches from there on.
func (m *Member) resume() {
	if m.watch.call != 0 || m.watch.resumed || m.underWay(listing) {
		return
	}
	m.watch.resumed = true
	m.counts.Resyncs++
	prefix := m.keys.member(m.lease)
	m.send(call{kind: listing}, etcd.RangeRequest{Key: prefix, End: etcd.PrefixEnd(prefix)}, m.config.Timeout)
}

// count asks now and then for the number of the own keys. If it is wrong twice, the watch is dead
// and nobody has said so.
func (m *Member) count() {
	if m.watch.call == 0 || m.now-m.watch.counted < int64(countsEvery) || m.underWay(counting) {
		return
	}
	m.watch.counted, m.watch.asked = m.now, m.watch.changes
	prefix := m.keys.member(m.lease)
	m.send(call{kind: counting}, etcd.RangeRequest{Key: prefix, End: etcd.PrefixEnd(prefix), CountOnly: true}, m.config.Timeout)
}

// counted compares the number of keys with what the member knows. It says nothing if that has
// changed since it asked.
func (m *Member) counted(n int64) {
	least := 1 + int64(m.number[Registered])
	most := least + int64(m.number[Claiming]+m.number[Returning]+len(m.releases)) // they may be there
	switch {
	case m.watch.asked != m.watch.changes:
	case least <= n && n <= most:
		m.watch.wrong = 0
	default:
		if m.watch.wrong++; m.watch.wrong == wrongCounts {
			m.watch.end(m)
			m.resume()
		}
	}
}

// listed goes through a list of the own keys at a revision. What the watch would have told is found
// by comparing.
func (m *Member) listed(r etcd.Range, revision int64) {
	lease := m.lease
	prefix := m.keys.member(lease)
	there := map[uint32]etcd.KV{}
	sentinel := false
	for kv := range r.KVs() {
		context, ok := parseListed(prefix, kv.Key)
		switch {
		case string(kv.Key) == prefix:
			sentinel = true
		case ok:
			there[context] = kv
		default:
			m.counts.Foreign++
		}
	}
	if !sentinel { // the keys are gone with the lease, or somebody has deleted this one
		m.leaveLease("its keys are gone")
		return
	}
	m.watchFrom(revision + 1)
	for _, s := range m.ordered() {
		kv, found := there[s.Context]
		m.compare(s, kv, found, revision)
	}
	for _, context := range slices.Sorted(maps.Keys(there)) {
		if m.streams[context] == nil && m.lease == lease {
			m.ghost(context, there[context].Value)
		}
	}
}

// compare looks at one stream after the own keys were listed. found says whether its key was there.
func (m *Member) compare(s *Stream, kv etcd.KV, found bool, revision int64) {
	switch {
	case found && string(kv.Value) == dismissed:
		m.dismissed(s, kv.ModRevision)
	case found && s.state == Unregistered && !s.more:
		m.registered(s, kv.ModRevision)
	case found && s.state.in():
		s.revision = max(s.revision, kv.ModRevision)
	case !found && s.state.in() && s.revision != 0 && s.revision <= revision:
		m.end(s, Superseded)
	case !found && s.sending:
		s.doubt = revision
	}
}

// changed reads one message of the watch.
func (m *Member) changed(w etcd.Watch) {
	lease := m.lease
	prefix := m.keys.member(lease)
	for e := range w.Events() {
		if m.lease != lease {
			return // the rest are the keys that have gone with the lease
		}
		if string(e.KV.Key) == prefix {
			if e.Delete { // etcd tells of it before the other keys of the lease, if they go, too
				m.leaveLease("its keys were deleted")
			}
			continue
		}
		context, ok := parseListed(prefix, e.KV.Key)
		if !ok {
			m.counts.Foreign++
			continue
		}
		m.watch.changes++
		s := m.streams[context]
		switch {
		case e.Delete:
			m.deleted(s, e.KV.ModRevision)
		case s == nil:
			m.ghost(context, e.KV.Value)
		case string(e.KV.Value) == dismissed:
			m.dismissed(s, e.KV.ModRevision)
		case s.state == Unregistered && !s.more:
			m.registered(s, e.KV.ModRevision)
		case s.state.in():
			s.revision = max(s.revision, e.KV.ModRevision)
		}
	}
}

// deleted notes that the key of s was deleted at a revision, and not by its member. It may come
// before the answer to the Txn that put the key, and after the key was put again.
func (m *Member) deleted(s *Stream, revision int64) {
	if s == nil {
		return
	}
	if s.state == Claiming && s.sending || s.state.in() && revision > s.revision {
		m.end(s, Superseded)
	}
}

// dismissed notes that an operator wants s ended, as of a revision. Its stream's key is gone.
func (m *Member) dismissed(s *Stream, revision int64) {
	if s.state.in() && revision >= s.revision || s.state == Claiming && s.sending {
		context, id := s.Context, s.Client
		m.end(s, Dismissed)
		m.release(context, id, true)
	}
}

// ghost removes the keys of a stream that has ended: its Txn came late. They have no other who
// knows of them.
func (m *Member) ghost(context uint32, value []byte) {
	id, known := parseID(value)
	m.counts.Ghosts++
	m.release(context, id, known)
}

// release removes the keys of a stream that has ended, as soon as etcd can be asked, and again
// until it has answered.
func (m *Member) release(context uint32, id ID, known bool) {
	if r, found := m.releases[context]; !found || r.call != 0 {
		m.unsent = append(m.unsent, context)
	}
	m.releases[context] = release{id: id, known: known}
}

// startReleases sends the releases that wait. After an outage they may be many: etcd, and Envoy's
// limit of requests, are not to meet all of them at once.
func (m *Member) startReleases() {
	for !m.away && len(m.unsent) > 0 && len(m.releases)-len(m.unsent) < mostReleasing {
		context := m.unsent[0]
		m.unsent = m.unsent[1:]
		r := m.releases[context]
		ops := m.deletes(r.id, name{m.lease, context})
		if !r.known {
			ops = ops[1:]
		}
		r.call = m.send(call{kind: releasing, context: context}, etcd.Txn{Success: ops}, m.config.Timeout)
		m.releases[context] = r
	}
}

// parseListed returns the context in a key that lists a stream of the member.
func parseListed(prefix string, key []byte) (context uint32, ok bool) {
	if len(key) != len(prefix)+8 || string(key[:len(prefix)]) != prefix {
		return 0, false
	}
	n, err := strconv.ParseUint(string(key[len(prefix):]), 16, 32)
	return uint32(n), err == nil
}
