package etcd

import (
	"errors"
	"fmt"
	"iter"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed says that an answer is no message of etcd. All errors of this package wrap it.
var ErrMalformed = errors.New("malformed answer of etcd")

// Header is in every answer.
type Header struct {
	Cluster, Member uint64
	Revision        int64 // of the store when the request was carried out
}

// KV is a key with its value. Key and Value are parts of the message that was parsed.
type KV struct {
	Key, Value                  []byte
	CreateRevision, ModRevision int64
	Lease                       int64
}

// Range is the answer to a [RangeRequest].
type Range struct {
	Header Header
	Count  int64 // of all keys in the range
	More   bool  // there are more than KVs has
	kvs    []byte
}

// TxnAnswer is the answer to a [Txn].
type TxnAnswer struct {
	Header    Header
	Succeeded bool
	Range     Range // of the first operation that was a range; zero if there was none
}

// Lease is the answer to a request about a lease: its id and how many seconds it still has. In the
// answer to a [LeaseKeepAliveRequest], a TTL of 0 or less says that the lease is gone.
type Lease struct {
	Header  Header
	ID, TTL int64
}

// Watch is a message of a watch.
type Watch struct {
	Header          Header
	Created         bool   // the watch has begun
	Canceled        bool   // etcd has ended the watch
	CompactRevision int64  // if the start revision is not there any more: the oldest that is
	Reason          []byte // why it was cancelled
	events          []byte
}

// Event is a change of a key.
type Event struct {
	Delete bool // else it was put
	KV     KV   // of a delete: only Key and ModRevision
}

// ParseRange reads the answer to a [RangeRequest].
func ParseRange(b []byte) (r Range, err error) {
	err = r.parse(b)
	return r, r.Header.check(err)
}

// ParseTxn reads the answer to a [Txn].
func ParseTxn(b []byte) (t TxnAnswer, err error) {
	found := false
	err = each(b, func(number protowire.Number, v value) error {
		switch {
		case number == 1 && v.message():
			return t.Header.parse(v.bytes)
		case number == 2 && v.varint():
			t.Succeeded = v.number != 0
		case number == 3 && v.message():
			return each(v.bytes, func(number protowire.Number, v value) error {
				if number != 1 || !v.message() || found {
					return nil
				}
				found = true
				return t.Range.parse(v.bytes)
			})
		}
		return nil
	})
	return t, t.Header.check(err)
}

// ParsePut reads the header of the answer to a [PutRequest], which is all that it has.
func ParsePut(b []byte) (h Header, err error) {
	err = each(b, func(number protowire.Number, v value) error {
		if number == 1 && v.message() {
			return h.parse(v.bytes)
		}
		return nil
	})
	return h, h.check(err)
}

// ParseLease reads the answer to a [LeaseGrantRequest] or a [LeaseKeepAliveRequest].
func ParseLease(b []byte) (l Lease, err error) {
	err = each(b, func(number protowire.Number, v value) error {
		switch {
		case number == 1 && v.message():
			return l.Header.parse(v.bytes)
		case number == 2 && v.varint():
			l.ID = int64(v.number)
		case number == 3 && v.varint():
			l.TTL = int64(v.number)
		}
		return nil
	})
	return l, l.Header.check(err)
}

// ParseWatch reads a message of a watch.
func ParseWatch(b []byte) (w Watch, err error) {
	w.events = b
	err = each(b, func(number protowire.Number, v value) error {
		switch {
		case number == 1 && v.message():
			return w.Header.parse(v.bytes)
		case number == 3 && v.varint():
			w.Created = v.number != 0
		case number == 4 && v.varint():
			w.Canceled = v.number != 0
		case number == 5 && v.varint():
			w.CompactRevision = int64(v.number)
		case number == 6 && v.message():
			if w.Reason = v.bytes; !utf8.Valid(v.bytes) {
				return malformed("cancel_reason %q is no UTF-8", v.bytes)
			}
		case number == 11 && v.message():
			return new(Event).parse(v.bytes)
		}
		return nil
	})
	return w, w.Header.check(err)
}

// KVs yields the keys of the answer, in the order of the message.
func (r Range) KVs() iter.Seq[KV] {
	return func(yield func(KV) bool) {
		repeated(r.kvs, 2, func(b []byte) bool {
			var kv KV
			_ = kv.parse(b) // it was parsed before
			return yield(kv)
		})
	}
}

// Events yields the changes that the message tells of, oldest first.
func (w Watch) Events() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		repeated(w.events, 11, func(b []byte) bool {
			var e Event
			_ = e.parse(b) // it was parsed before
			return yield(e)
		})
	}
}

// repeated calls f with each message that has the number, until f returns false.
func repeated(b []byte, number protowire.Number, f func([]byte) bool) {
	stop := errors.New("stop")
	_ = each(b, func(n protowire.Number, v value) error {
		if n == number && v.message() && !f(v.bytes) {
			return stop
		}
		return nil
	})
}

// check returns err, or an error if the answer has no header: etcd always tells its cluster.
func (h Header) check(err error) error {
	if err == nil && h.Cluster == 0 {
		return malformed("no cluster id in the header")
	}
	return err
}

func (h *Header) parse(b []byte) error {
	return each(b, func(number protowire.Number, v value) error {
		switch {
		case number == 1 && v.varint():
			h.Cluster = v.number
		case number == 2 && v.varint():
			h.Member = v.number
		case number == 3 && v.varint():
			h.Revision = int64(v.number)
		}
		return nil
	})
}

func (r *Range) parse(b []byte) error {
	r.kvs = b
	return each(b, func(number protowire.Number, v value) error {
		switch {
		case number == 1 && v.message():
			return r.Header.parse(v.bytes)
		case number == 2 && v.message():
			return new(KV).parse(v.bytes)
		case number == 3 && v.varint():
			r.More = v.number != 0
		case number == 4 && v.varint():
			r.Count = int64(v.number)
		}
		return nil
	})
}

func (kv *KV) parse(b []byte) error {
	return each(b, func(number protowire.Number, v value) error {
		switch {
		case number == 1 && v.message():
			kv.Key = v.bytes
		case number == 2 && v.varint():
			kv.CreateRevision = int64(v.number)
		case number == 3 && v.varint():
			kv.ModRevision = int64(v.number)
		case number == 5 && v.message():
			kv.Value = v.bytes
		case number == 6 && v.varint():
			kv.Lease = int64(v.number)
		}
		return nil
	})
}

func (e *Event) parse(b []byte) error {
	return each(b, func(number protowire.Number, v value) error {
		switch {
		case number == 1 && v.varint():
			const deleted = 1
			if e.Delete = int32(v.number) == deleted; !e.Delete && int32(v.number) != 0 {
				return malformed("event has type %d, want 0 or 1", int32(v.number))
			}
		case number == 2 && v.message():
			return e.KV.parse(v.bytes)
		}
		return nil
	})
}

// value is the value of a field.
type value struct {
	kind   protowire.Type
	number uint64 // of a varint
	bytes  []byte // of bytes, a string or a message
}

func (v value) varint() bool  { return v.kind == protowire.VarintType }
func (v value) message() bool { return v.kind == protowire.BytesType }

// each calls f with the fields of a message, in order, until f returns an error. Groups are
// malformed: etcd has none, and to skip them takes a stack as deep as they are nested.
func each(b []byte, f func(protowire.Number, value) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || number > protowire.MaxValidNumber {
			return malformed("%d bytes that begin with no tag", len(b))
		}
		b = b[n:]
		v := value{kind: kind}
		switch kind {
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(b)
		case protowire.Fixed32Type:
			_, n = protowire.ConsumeFixed32(b)
		case protowire.Fixed64Type:
			_, n = protowire.ConsumeFixed64(b)
		default:
			return malformed("field %d: wire type %d, want 0, 1, 2 or 5", number, kind)
		}
		if n < 0 {
			return malformed("field %d, wire type %d: its value is cut off or too large", number, kind)
		}
		b = b[n:]
		if err := f(number, v); err != nil {
			return err
		}
	}
	return nil
}

// malformed returns an error that wraps ErrMalformed.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}
