// Package etcdtest is an etcd for tests, in memory: as much of one as a fleet uses. It has keys
// with revisions, leases and watches, and speaks etcd's messages in both directions: see
// [ParseRequest].
//
// Each request is carried out in one step, so the answers are linearizable. There is no clock: a
// lease ends when the test calls [Store.Expire]. There is no network: the test carries requests and
// answers, so it says what is late, what is lost, and in which order the rest arrives.
package etcdtest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// Store is an etcd. All that it holds may be read.
type Store struct {
	Cluster  uint64
	Revision int64
	Keys     []Key   // in the order of their names
	Leases   []Lease // that live
	Granted  int64   // the last id given
	History  []Change
}

// Key is a key with its value.
type Key struct {
	Name, Value      string
	Lease            int64
	Created, Written int64 // revisions
}

// Lease is a lease that lives.
type Lease struct{ ID, TTL int64 }

// Change is a put or a delete that watches are told of.
type Change struct {
	Key, Value string
	Deleted    bool
	Revision   int64
}

// Failure is how a call fails, with a status of gRPC.
type Failure struct {
	Status  int
	Message string
}

// NoAnswer is what Envoy makes of a call whose time is up.
var NoAnswer = Failure{14, "upstream request timeout"}

var (
	leaseMissing = Failure{5, "etcdserver: requested lease not found"}
	keyMissing   = Failure{3, "etcdserver: key not found"}
	tooManyOps   = Failure{3, "etcdserver: too many operations in txn request"}
)

// New returns an etcd without keys.
func New() *Store { return &Store{Cluster: 7, Revision: 1} }

// Clone returns a copy that shares nothing that changes.
func (s *Store) Clone() *Store {
	c := *s
	c.Keys, c.Leases, c.History = slices.Clone(s.Keys), slices.Clone(s.Leases), slices.Clone(s.History)
	return &c
}

// Find returns the place in Keys of a key, or where it would be.
func (s *Store) Find(key string) (at int, found bool) {
	return slices.BinarySearchFunc(s.Keys, key, func(k Key, name string) int { return strings.Compare(k.Name, name) })
}

// Within returns the keys from key up to end, or with end "" only key. They are the store's.
func (s *Store) Within(key, end string) []Key {
	from, found := s.Find(key)
	if end == "" {
		if !found {
			return nil
		}
		return s.Keys[from : from+1]
	}
	to, _ := s.Find(end)
	return s.Keys[from:max(from, to)]
}

// Lives reports whether a lease lives.
func (s *Store) Lives(lease int64) bool { return s.lease(lease) >= 0 }

func (s *Store) lease(id int64) (at int) {
	return slices.IndexFunc(s.Leases, func(l Lease) bool { return l.ID == id })
}

// Expire ends a lease, and deletes its keys in one revision.
func (s *Store) Expire(lease int64) {
	s.Leases = slices.DeleteFunc(s.Leases, func(l Lease) bool { return l.ID == lease })
	var keys []string
	for _, k := range s.Keys {
		if k.Lease == lease {
			keys = append(keys, k.Name)
		}
	}
	if len(keys) > 0 {
		s.Revision++
	}
	for _, key := range keys {
		s.delete(key)
	}
}

// Do carries out a request, and returns its answer as it is on the wire. A watch is no such
// request: see [Store.Watch].
func (s *Store) Do(r etcd.Request) (answer []byte, failed *Failure) {
	switch r := r.(type) {
	case etcd.RangeRequest:
		return s.rangeAnswer(r), nil
	case etcd.PutRequest:
		if failed := s.refuse(r); failed != nil {
			return nil, failed
		}
		s.Revision++
		s.put(r)
		return s.header(), nil
	case etcd.Txn:
		return s.txn(r)
	case etcd.LeaseGrantRequest:
		s.Granted++
		s.Leases = append(s.Leases, Lease{s.Granted, r.TTL})
		return s.leaseAnswer(s.Granted, r.TTL), nil
	case etcd.LeaseKeepAliveRequest:
		if at := s.lease(r.ID); at >= 0 {
			return s.leaseAnswer(r.ID, s.Leases[at].TTL), nil
		}
		return s.leaseAnswer(r.ID, 0), nil
	case etcd.LeaseRevokeRequest:
		if !s.Lives(r.ID) {
			return nil, &leaseMissing
		}
		s.Expire(r.ID)
		return s.header(), nil
	}
	panic(fmt.Sprintf("etcdtest: Do(%T): want a request with one answer", r))
}

func (s *Store) refuse(p etcd.PutRequest) *Failure {
	_, found := s.Find(p.Key)
	switch {
	case p.IgnoreLease && !found:
		return &keyMissing
	case !p.IgnoreLease && p.Lease != 0 && !s.Lives(p.Lease):
		return &leaseMissing
	}
	return nil
}

func (s *Store) txn(t etcd.Txn) ([]byte, *Failure) {
	const mostOps = 128 // etcd's default
	if max(len(t.Compare), len(t.Success), len(t.Failure)) > mostOps {
		return nil, &tooManyOps
	}
	for _, c := range t.Compare {
		if !s.holds(c) {
			return s.txnAnswer(false, s.rangeAnswer(t.Failure[0].(etcd.RangeRequest))), nil
		}
	}
	for _, op := range t.Success {
		if p, ok := op.(etcd.PutRequest); ok {
			if failed := s.refuse(p); failed != nil {
				return nil, failed
			}
		}
	}
	s.Revision++
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
		s.Revision--
	}
	return s.txnAnswer(true, nil), nil
}

func (s *Store) holds(c etcd.Compare) bool {
	if c.Target == etcd.ModLess {
		for _, k := range s.Within(c.Key, c.End) {
			if k.Written >= c.Revision {
				return false
			}
		}
		return true
	}
	created := int64(0)
	for _, k := range s.Within(c.Key, c.End) {
		created = k.Created
	}
	return created == c.Revision
}

func (s *Store) put(p etcd.PutRequest) {
	at, found := s.Find(p.Key)
	if !found {
		s.Keys = slices.Insert(s.Keys, at, Key{Name: p.Key, Created: s.Revision})
	}
	k := &s.Keys[at]
	k.Value, k.Written = string(p.Value), s.Revision
	if !p.IgnoreLease {
		k.Lease = p.Lease
	}
	s.History = append(s.History, Change{Key: p.Key, Value: string(p.Value), Revision: s.Revision})
}

func (s *Store) delete(key string) bool {
	at, found := s.Find(key)
	if found {
		s.Keys = slices.Delete(s.Keys, at, at+1)
		s.History = append(s.History, Change{Key: key, Deleted: true, Revision: s.Revision})
	}
	return found
}
