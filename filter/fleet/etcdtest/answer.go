package etcdtest

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// Answers are encoded as etcd does, without what the fleet does not read.

func (s *Store) header() []byte {
	h := number(nil, 1, int64(s.Cluster))
	return field(nil, 1, number(h, 3, s.Revision))
}

func (s *Store) rangeAnswer(r etcd.RangeRequest) []byte {
	found := s.Within(r.Key, r.End)
	b := s.header()
	for _, k := range found {
		if !r.CountOnly {
			kv := field(nil, 1, []byte(k.Name))
			kv = number(number(kv, 2, k.Created), 3, k.Written)
			b = field(b, 2, number(field(kv, 5, []byte(k.Value)), 6, k.Lease))
		}
	}
	return number(b, 4, int64(len(found)))
}

func (s *Store) txnAnswer(succeeded bool, ranged []byte) []byte {
	if succeeded {
		return number(s.header(), 2, 1)
	}
	return field(s.header(), 3, field(nil, 1, ranged))
}

func (s *Store) leaseAnswer(id, ttl int64) []byte { return number(number(s.header(), 2, id), 3, ttl) }

// WatchCreated is the first message of a watch.
func (s *Store) WatchCreated() []byte { return number(s.header(), 3, 1) }

// WatchCompacted is the last message of a watch whose revisions are not there any more.
func (s *Store) WatchCompacted() []byte {
	return number(number(s.header(), 4, 1), 5, s.Revision)
}

// WatchCancelled is the last message of a watch that etcd ends for another reason.
func (s *Store) WatchCancelled(reason string) []byte {
	return field(number(s.header(), 4, 1), 6, []byte(reason))
}

// WatchAnswer is a message of a watch that tells of changes.
func (s *Store) WatchAnswer(changes ...Change) []byte {
	b := s.header()
	for _, c := range changes {
		kv := number(field(nil, 1, []byte(c.Key)), 3, c.Revision)
		var e []byte
		if c.Deleted {
			e = number(e, 1, 1)
		} else {
			kv = field(kv, 5, []byte(c.Value))
		}
		b = field(b, 11, field(e, 2, kv))
	}
	return b
}

func number(b []byte, field protowire.Number, n int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(n))
}

func field(b []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), value)
}
