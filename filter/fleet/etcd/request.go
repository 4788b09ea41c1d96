package etcd

import "google.golang.org/protobuf/encoding/protowire"

// Request is a message to etcd.
type Request interface {
	// Append appends the message in protobuf's wire format.
	Append(dst []byte) []byte
	// Method returns the method that takes the message.
	Method() Method
}

// Op is an operation in a [Txn]: a [RangeRequest], a [PutRequest] or a [DeleteRequest].
type Op interface {
	Append(dst []byte) []byte
	// op returns its field number in etcd's RequestOp.
	op() protowire.Number
}

// RangeRequest reads the keys from Key up to End, linearizably.
type RangeRequest struct {
	Key, End  string // End "": only Key
	CountOnly bool
}

// PutRequest writes a key.
type PutRequest struct {
	Key         string
	Value       []byte
	Lease       int64
	IgnoreLease bool // the key keeps its lease; it must be there
}

// DeleteRequest deletes a key.
type DeleteRequest struct{ Key string }

// Compare is a condition of a [Txn].
type Compare struct {
	Key, End string // End "": only Key; else it must hold for each key in the range
	Target   CompareTarget
	Revision int64
}

// CompareTarget is what a [Compare] demands.
type CompareTarget uint8

const (
	// ModLess: the key was last written before Revision.
	ModLess CompareTarget = iota + 1
	// CreateEqual: the key was created at Revision. A key that is not there has 0.
	CreateEqual
)

// Txn does Success if every Compare holds, else Failure.
type Txn struct {
	Compare          []Compare
	Success, Failure []Op
}

// LeaseGrantRequest asks for a lease of TTL seconds.
type LeaseGrantRequest struct{ TTL int64 }

// LeaseRevokeRequest ends a lease and deletes its keys.
type LeaseRevokeRequest struct{ ID int64 }

// LeaseKeepAliveRequest gives a lease its whole TTL again.
type LeaseKeepAliveRequest struct{ ID int64 }

// WatchRequest asks for all changes of the keys from Key up to End, from StartRevision on.
type WatchRequest struct {
	Key, End      string
	StartRevision int64
}

// Method returns the method that takes the message.
func (RangeRequest) Method() Method { return KVRange }

// Method returns the method that takes the message.
func (PutRequest) Method() Method { return KVPut }

// Method returns the method that takes the message.
func (Txn) Method() Method { return KVTxn }

// Method returns the method that takes the message.
func (LeaseGrantRequest) Method() Method { return LeaseGrant }

// Method returns the method that takes the message.
func (LeaseRevokeRequest) Method() Method { return LeaseRevoke }

// Method returns the method that takes the message.
func (LeaseKeepAliveRequest) Method() Method { return LeaseKeepAlive }

// Method returns the method that takes the message.
func (WatchRequest) Method() Method { return WatchWatch }

func (RangeRequest) op() protowire.Number  { return 1 }
func (PutRequest) op() protowire.Number    { return 2 }
func (DeleteRequest) op() protowire.Number { return 3 }

// Append appends the message in protobuf's wire format.
func (r RangeRequest) Append(dst []byte) []byte {
	dst = appendString(dst, 1, r.Key)
	dst = appendString(dst, 2, r.End)
	return appendBool(dst, 9, r.CountOnly)
}

// Append appends the message in protobuf's wire format.
func (r PutRequest) Append(dst []byte) []byte {
	dst = appendString(dst, 1, r.Key)
	dst = appendString(dst, 2, string(r.Value))
	dst = appendInt(dst, 3, r.Lease)
	return appendBool(dst, 6, r.IgnoreLease)
}

// Append appends the message in protobuf's wire format.
func (r DeleteRequest) Append(dst []byte) []byte { return appendString(dst, 1, r.Key) }

// Append appends the message in protobuf's wire format.
func (c Compare) Append(dst []byte) []byte {
	const less, create, mod = 2, 1, 2
	if c.Target == ModLess {
		dst = appendInt(dst, 1, less)
		dst = appendInt(dst, 2, mod)
	} else {
		dst = appendInt(dst, 2, create)
	}
	dst = appendString(dst, 3, c.Key)
	dst = appendString(dst, 64, c.End)
	// A member of a oneof is written even if it is 0; in Go's encoding it comes last.
	number := protowire.Number(5)
	if c.Target == ModLess {
		number = 6
	}
	dst = protowire.AppendTag(dst, number, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(c.Revision))
}

// Append appends the message in protobuf's wire format.
func (t Txn) Append(dst []byte) []byte {
	for _, c := range t.Compare {
		dst = appendMessage(dst, 1, c.Append)
	}
	for _, o := range t.Success {
		dst = appendOp(dst, 2, o)
	}
	for _, o := range t.Failure {
		dst = appendOp(dst, 3, o)
	}
	return dst
}

// Append appends the message in protobuf's wire format.
func (r LeaseGrantRequest) Append(dst []byte) []byte { return appendInt(dst, 1, r.TTL) }

// Append appends the message in protobuf's wire format.
func (r LeaseRevokeRequest) Append(dst []byte) []byte { return appendInt(dst, 1, r.ID) }

// Append appends the message in protobuf's wire format.
func (r LeaseKeepAliveRequest) Append(dst []byte) []byte { return appendInt(dst, 1, r.ID) }

// Append appends the message in protobuf's wire format.
func (r WatchRequest) Append(dst []byte) []byte {
	return appendMessage(dst, 1, func(dst []byte) []byte {
		dst = appendString(dst, 1, r.Key)
		dst = appendString(dst, 2, r.End)
		return appendInt(dst, 3, r.StartRevision)
	})
}

func appendOp(dst []byte, number protowire.Number, o Op) []byte {
	return appendMessage(dst, number, func(dst []byte) []byte { return appendMessage(dst, o.op(), o.Append) })
}

// appendMessage appends a message within a message. It writes the content first, and moves it to
// make room for its length.
func appendMessage(dst []byte, number protowire.Number, content func([]byte) []byte) []byte {
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	at := len(dst)
	dst = content(dst)
	size := len(dst) - at
	dst = protowire.AppendVarint(dst, uint64(size))
	width := len(dst) - at - size
	copy(dst[at+width:], dst[at:at+size])
	protowire.AppendVarint(dst[:at], uint64(size))
	return dst
}

// appendString, appendInt and appendBool leave out what has its default value, as proto3 has it.
func appendString(dst []byte, number protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, number, protowire.BytesType), s)
}

func appendInt(dst []byte, number protowire.Number, n int64) []byte {
	if n == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), uint64(n))
}

func appendBool(dst []byte, number protowire.Number, b bool) []byte {
	return appendInt(dst, number, int64(protowire.EncodeBool(b)))
}
