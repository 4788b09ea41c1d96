package etcdtest

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// MethodOf returns the method with the names that are in a request's path.
func MethodOf(service, name string) (m etcd.Method, found bool) {
	for m := etcd.KVRange; m <= etcd.WatchWatch; m++ {
		if m.Service() == service && m.String() == name {
			return m, true
		}
	}
	return 0, false
}

// ParseRequest reads a message to etcd. It is strict: it returns an error if the message has
// anything that this package does not know, or is not encoded as etcd's own client would.
func ParseRequest(m etcd.Method, message []byte) (etcd.Request, error) {
	r, err := parse(m, fields(message))
	if err == nil && !bytes.Equal(r.Append(nil), message) {
		err = fmt.Errorf("read as %+v, which is encoded as %x", r, r.Append(nil))
	}
	if err != nil {
		return nil, fmt.Errorf("%s/%s %x: %w", m.Service(), m, message, err)
	}
	return r, nil
}

func parse(m etcd.Method, f message) (etcd.Request, error) {
	switch m {
	case etcd.KVRange:
		return rangeRequest(f), f.err
	case etcd.KVPut:
		return putRequest(f), f.err
	case etcd.KVTxn:
		return txn(f)
	case etcd.LeaseGrant:
		return etcd.LeaseGrantRequest{TTL: f.number(1)}, f.err
	case etcd.LeaseRevoke:
		return etcd.LeaseRevokeRequest{ID: f.number(1)}, f.err
	case etcd.LeaseKeepAlive:
		return etcd.LeaseKeepAliveRequest{ID: f.number(1)}, f.err
	case etcd.WatchWatch:
		create := fields([]byte(f.text(1)))
		return etcd.WatchRequest{Key: create.text(1), End: create.text(2), StartRevision: create.number(3)}, create.err
	}
	return nil, fmt.Errorf("method %d, want one of the fleet's", m)
}

func rangeRequest(f message) etcd.RangeRequest {
	return etcd.RangeRequest{Key: f.text(1), End: f.text(2), CountOnly: f.number(9) != 0}
}

func putRequest(f message) etcd.PutRequest {
	return etcd.PutRequest{Key: f.text(1), Value: []byte(f.text(2)), Lease: f.number(3), IgnoreLease: f.number(6) != 0}
}

func txn(f message) (t etcd.Txn, err error) {
	for _, v := range f.values {
		part := fields(v.bytes)
		if part.err != nil {
			return t, part.err
		}
		if v.field == 1 {
			t.Compare = append(t.Compare, compare(part))
			continue
		}
		op, err := operation(part)
		switch {
		case err != nil:
			return t, err
		case v.field == 2:
			t.Success = append(t.Success, op)
		case v.field == 3:
			t.Failure = append(t.Failure, op)
		}
	}
	return t, f.err
}

func compare(f message) etcd.Compare {
	c := etcd.Compare{Key: f.text(3), End: f.text(64), Target: etcd.CreateEqual, Revision: f.number(5)}
	const mod = 2
	if f.number(2) == mod {
		c.Target, c.Revision = etcd.ModLess, f.number(6)
	}
	return c
}

func operation(f message) (etcd.Op, error) {
	if len(f.values) != 1 {
		return nil, fmt.Errorf("%d requests in an operation, want 1", len(f.values))
	}
	part := fields(f.values[0].bytes)
	switch f.values[0].field {
	case 1:
		return rangeRequest(part), part.err
	case 2:
		return putRequest(part), part.err
	case 3:
		return etcd.DeleteRequest{Key: part.text(1)}, part.err
	}
	return nil, fmt.Errorf("operation %d, want a range, a put or a delete", f.values[0].field)
}

// message is a message of protobuf, cut into its fields.
type message struct {
	values []value
	err    error
}

type value struct {
	field  protowire.Number
	number uint64
	bytes  []byte
}

func fields(b []byte) (m message) {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		v := value{field: field}
		if n > 0 {
			b = b[n:]
			switch kind {
			case protowire.VarintType:
				v.number, n = protowire.ConsumeVarint(b)
			case protowire.BytesType:
				v.bytes, n = protowire.ConsumeBytes(b)
			default:
				n = -1
			}
		}
		if n < 0 {
			m.err = fmt.Errorf("%x: want fields that are numbers or bytes", b)
			return m
		}
		b = b[n:]
		m.values = append(m.values, v)
	}
	return m
}

func (m message) find(field protowire.Number) (found value) {
	for _, v := range m.values {
		if v.field == field {
			found = v
		}
	}
	return found
}

func (m message) text(field protowire.Number) string  { return string(m.find(field).bytes) }
func (m message) number(field protowire.Number) int64 { return int64(m.find(field).number) }
