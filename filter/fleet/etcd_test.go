package fleet

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// store is an etcd: keys with revisions, leases, and the history that watches are read from. A
// request is carried out in one step, so its answers are linearizable.
type store struct {
	cluster  uint64
	revision int64
	keys     []stored // in the order of their keys
	leases   []int64  // that live
	granted  int64    // the last id given
	history  []change
}

type stored struct {
	key, value       string
	lease            int64
	created, written int64
}

type change struct {
	key, value string
	deleted    bool
	revision   int64
}

func newStore() *store { return &store{cluster: 7, revision: 1} }

func (s *store) clone() *store {
	c := *s
	c.keys, c.leases, c.history = slices.Clone(s.keys), slices.Clone(s.leases), slices.Clone(s.history)
	return &c
}

func (s *store) find(key string) (int, bool) {
	return slices.BinarySearchFunc(s.keys, key, func(k stored, key string) int { return strings.Compare(k.key, key) })
}

func (s *store) within(key, end string) []stored {
	from, found := s.find(key)
	if end == "" {
		if !found {
			return nil
		}
		return s.keys[from : from+1]
	}
	to, _ := s.find(end)
	return s.keys[from:to]
}

func (s *store) put(p etcd.PutRequest) {
	at, found := s.find(p.Key)
	if !found {
		s.keys = slices.Insert(s.keys, at, stored{key: p.Key, created: s.revision})
	}
	k := &s.keys[at]
	k.value, k.written = string(p.Value), s.revision
	if !p.IgnoreLease {
		k.lease = p.Lease
	}
	s.history = append(s.history, change{key: p.Key, value: string(p.Value), revision: s.revision})
}

func (s *store) delete(key string) bool {
	at, found := s.find(key)
	if found {
		s.keys = slices.Delete(s.keys, at, at+1)
		s.history = append(s.history, change{key: key, deleted: true, revision: s.revision})
	}
	return found
}

// expire ends a lease, and deletes its keys in one revision.
func (s *store) expire(lease int64) {
	s.leases = slices.DeleteFunc(s.leases, func(l int64) bool { return l == lease })
	var keys []string
	for _, k := range s.keys {
		if k.lease == lease {
			keys = append(keys, k.key)
		}
	}
	if len(keys) > 0 {
		s.revision++
	}
	for _, key := range keys {
		s.delete(key)
	}
}

// failure is how a call fails.
type failure struct {
	status  int
	message string
}

var (
	noAnswer     = failure{14, "upstream request timeout"}
	leaseMissing = failure{5, "etcdserver: requested lease not found"}
	keyMissing   = failure{3, "etcdserver: key not found"}
)

// do carries out a request.
func (s *store) do(r etcd.Request) (answer []byte, failed *failure) {
	switch r := r.(type) {
	case etcd.RangeRequest:
		return s.rangeAnswer(r), nil
	case etcd.PutRequest:
		if failed := s.refuse(r); failed != nil {
			return nil, failed
		}
		s.revision++
		s.put(r)
		return s.header(), nil
	case etcd.Txn:
		return s.txn(r)
	case etcd.LeaseGrantRequest:
		s.granted++
		s.leases = append(s.leases, s.granted)
		return leaseAnswer(s.header(), s.granted, r.TTL), nil
	case etcd.LeaseRevokeRequest:
		if !slices.Contains(s.leases, r.ID) {
			return nil, &leaseMissing
		}
		s.expire(r.ID)
		return s.header(), nil
	}
	panic(fmt.Sprintf("%T", r))
}

func (s *store) refuse(p etcd.PutRequest) *failure {
	_, found := s.find(p.Key)
	switch {
	case p.IgnoreLease && !found:
		return &keyMissing
	case !p.IgnoreLease && !slices.Contains(s.leases, p.Lease):
		return &leaseMissing
	}
	return nil
}

func (s *store) txn(t etcd.Txn) ([]byte, *failure) {
	for _, c := range t.Compare {
		if !s.holds(c) {
			return txnAnswer(s.header(), false, s.rangeAnswer(t.Failure[0].(etcd.RangeRequest))), nil
		}
	}
	for _, op := range t.Success {
		if p, ok := op.(etcd.PutRequest); ok {
			if failed := s.refuse(p); failed != nil {
				return nil, failed
			}
		}
	}
	s.revision++
	changed := false
	for _, op := range t.Success {
		switch op := op.(type) {
		case etcd.PutRequest:
			s.put(op)
			changed = true
		case etcd.DeleteRequest:
			changed = s.delete(op.Key) || changed
		}
	}
	if !changed {
		s.revision--
	}
	return txnAnswer(s.header(), true, nil), nil
}

func (s *store) holds(c etcd.Compare) bool {
	if c.Target == etcd.ModLess {
		for _, k := range s.within(c.Key, c.End) {
			if k.written >= c.Revision {
				return false
			}
		}
		return true
	}
	created := int64(0)
	for _, k := range s.within(c.Key, c.End) {
		created = k.created
	}
	return created == c.Revision
}

// What follows encodes answers as etcd does.

func (s *store) header() []byte {
	h := number(nil, 1, int64(s.cluster))
	return bytesField(nil, 1, number(h, 3, s.revision))
}

func (s *store) rangeAnswer(r etcd.RangeRequest) []byte {
	found := s.within(r.Key, r.End)
	b := s.header()
	for _, k := range found {
		if !r.CountOnly {
			kv := bytesField(nil, 1, []byte(k.key))
			kv = number(number(kv, 2, k.created), 3, k.written)
			b = bytesField(b, 2, number(bytesField(kv, 5, []byte(k.value)), 6, k.lease))
		}
	}
	return number(b, 4, int64(len(found)))
}

func txnAnswer(header []byte, succeeded bool, ranged []byte) []byte {
	if succeeded {
		return number(header, 2, 1)
	}
	return bytesField(header, 3, bytesField(nil, 1, ranged))
}

func leaseAnswer(header []byte, id, ttl int64) []byte { return number(number(header, 2, id), 3, ttl) }

// watchAnswer tells of changes.
func (s *store) watchAnswer(changes []change) []byte {
	b := s.header()
	for _, c := range changes {
		kv := number(bytesField(nil, 1, []byte(c.key)), 3, c.revision)
		var e []byte
		if c.deleted {
			e = number(e, 1, 1)
		} else {
			kv = bytesField(kv, 5, []byte(c.value))
		}
		b = bytesField(b, 11, bytesField(e, 2, kv))
	}
	return b
}

func number(b []byte, field protowire.Number, n int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(n))
}

func bytesField(b []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), value)
}
