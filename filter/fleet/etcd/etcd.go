// Package etcd has the messages of etcd's v3 API that the fleet uses, and no more of them.
//
// A request is a struct with an Append method. An answer is a struct with a Parse function. The
// filter does not use etcd's own Go types: with the runtime that they need they would cost each
// worker some megabytes. A test in e2e/fleet holds these types to etcd's own, byte by byte.
//
// # Bad answers
//
// An answer may hold any bytes. Parse reads the whole message once, and returns an error or an
// answer in which everything can be read. It never panics. It allocates nothing for the lists in a
// message: they stay where they are, and [Range.KVs] and [Watch.Events] read them again. So the
// memory that an answer takes is the memory of its bytes.
package etcd

import "strings"

// Method is a method of etcd's API.
type Method uint8

// The methods that the fleet uses. Two of them are streams in both directions.
const (
	KVRange Method = iota + 1
	KVTxn
	KVPut
	LeaseGrant
	LeaseRevoke
	LeaseKeepAlive // a stream
	WatchWatch     // a stream
)

// Service returns the name of the service that has the method.
func (m Method) Service() string {
	switch m {
	case KVRange, KVTxn, KVPut:
		return "etcdserverpb.KV"
	case LeaseGrant, LeaseRevoke, LeaseKeepAlive:
		return "etcdserverpb.Lease"
	}
	return "etcdserverpb.Watch"
}

// String returns the name of the method within its service.
func (m Method) String() string {
	switch m {
	case KVRange:
		return "Range"
	case KVTxn:
		return "Txn"
	case KVPut:
		return "Put"
	case LeaseGrant:
		return "LeaseGrant"
	case LeaseRevoke:
		return "LeaseRevoke"
	case LeaseKeepAlive:
		return "LeaseKeepAlive"
	case WatchWatch:
		return "Watch"
	}
	return "Method(" + string('0'+byte(m)%10) + ")"
}

// Streams reports whether both sides send messages until one of them ends the call.
func (m Method) Streams() bool { return m == LeaseKeepAlive || m == WatchWatch }

// LeaseLost reports whether a failed call says that its lease is gone: gRPC's status NotFound and
// etcd's message. Any other failure says nothing about the lease.
func LeaseLost(status int, message string) bool {
	const notFound = 5
	return status == notFound && strings.Contains(message, "requested lease not found")
}

// PrefixEnd returns the end of the range of all keys that begin with prefix, which must not be
// empty or end in 0xff.
func PrefixEnd(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string([]byte{prefix[last] + 1})
}
