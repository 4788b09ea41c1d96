package registry

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// The stored form is fixed-width, little-endian, and canonical: a value that parses encodes to the same bytes, so
// there is one way to write a state and nothing can hide in another. formatVersion is the first byte of every value
// and a part of every key.
const (
	formatVersion = 1
	keyPrefix     = "streamlatch/1/"

	bucketHeaderSize = 1 + 8
	entryHeaderSize  = 16 + 4 + 1
	streamSize       = 8 + 8 + 8 + 4 + 2
	recordSize       = 1 + 8 + 4 + 8 + 4
	messageSize      = 1 + 8 + 8 + 4 + 8 + 1
)

// MaxWorkers is the number of worker slots.
const MaxWorkers = 1024

func bucketKey(n uint32) string { return keyPrefix + "b/" + strconv.FormatUint(uint64(n), 10) }
func slotKey(n uint16) string   { return keyPrefix + "w/" + strconv.FormatUint(uint64(n), 10) }
func ruleKey(id RuleID) string  { return keyPrefix + "r/" + strconv.FormatUint(uint64(id), 16) }
func queueName(n uint16) string { return keyPrefix + "q/" + strconv.FormatUint(uint64(n), 10) }

// ClientID is a keyed hash of a rule and a client's key under that rule. Keys themselves are never stored.
type ClientID [16]byte

// Short returns the first 8 hex digits, for logs.
func (c ClientID) Short() string { return hex.EncodeToString(c[:4]) }

// RuleID is a keyed hash of a rule's name.
type RuleID uint32

// Bucket is the value of one bucket key: the clients whose hash falls into it.
type Bucket struct {
	Claims  uint64  // claims ever made in this bucket: the last number given
	Entries []Entry // in ascending order of Client

	streams []policy.Stream // what parse has read, of all entries
}

// Entry is what the registry holds for one client. There is none for a client without streams.
type Entry struct {
	Client  ClientID
	Rule    RuleID
	Streams []policy.Stream // 1 to policy.MaxStreams, in ascending order of Claim
}

func (b *Bucket) reset() { b.Claims, b.Entries = 0, b.Entries[:0] }

// find returns the place of client's entry, or where it would stand.
func (b *Bucket) find(client ClientID) (at int, found bool) {
	return slices.BinarySearchFunc(b.Entries, client, func(e Entry, c ClientID) int { return bytes.Compare(e.Client[:], c[:]) })
}

// put makes streams the client's entry; none: the entry goes.
func (b *Bucket) put(client ClientID, rule RuleID, streams []policy.Stream) {
	at, found := b.find(client)
	switch {
	case len(streams) == 0 && found:
		b.Entries = slices.Delete(b.Entries, at, at+1)
	case len(streams) == 0:
	case found:
		b.Entries[at].Streams = streams
	default:
		b.Entries = slices.Insert(b.Entries, at, Entry{Client: client, Rule: rule, Streams: streams})
	}
}

// Append appends the stored form of b to dst.
func (b *Bucket) Append(dst []byte) []byte {
	size := bucketHeaderSize
	for i := range b.Entries {
		size += entryHeaderSize + streamSize*len(b.Entries[i].Streams)
	}
	dst = slices.Grow(dst, size)
	dst = append(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint64(dst, b.Claims)
	for i := range b.Entries {
		e := &b.Entries[i]
		dst = append(dst, e.Client[:]...)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(e.Rule))
		dst = append(dst, byte(len(e.Streams)))
		for _, s := range e.Streams {
			dst = binary.LittleEndian.AppendUint64(dst, s.Claim)
			dst = binary.LittleEndian.AppendUint64(dst, s.Owner.Incarnation)
			dst = binary.LittleEndian.AppendUint64(dst, uint64(s.ClaimedAt))
			dst = binary.LittleEndian.AppendUint32(dst, s.Context)
			dst = binary.LittleEndian.AppendUint16(dst, s.Owner.Slot)
		}
	}
	return dst
}

// ParseBucket reads the stored form of a bucket. Anything that [Bucket.Append] could not have written is an error
// that wraps [ErrMalformed].
func ParseBucket(value []byte) (Bucket, error) {
	var b Bucket
	err := b.parse(value)
	b.streams = nil
	return b, err
}

// parse is ParseBucket into b, whose memory is used again: entries of an earlier parse are overwritten.
func (b *Bucket) parse(value []byte) error {
	b.reset()
	if len(value) < bucketHeaderSize || value[0] != formatVersion {
		return malformed("bucket: header % x", value[:min(len(value), bucketHeaderSize)])
	}
	b.Claims = binary.LittleEndian.Uint64(value[1:])
	if b.Claims == math.MaxUint64 { // the next claim would be number 0, older than all
		return malformed("bucket: %d claims", b.Claims)
	}
	rest := value[bucketHeaderSize:]
	// All entries take slices of one array, with no room to grow into the next.
	streams := slices.Grow(b.streams[:0], len(rest)/streamSize)
	for len(rest) > 0 {
		at := len(value) - len(rest)
		if len(rest) < entryHeaderSize {
			return malformed("bucket: entry at byte %d is cut short", at)
		}
		var e Entry
		copy(e.Client[:], rest)
		e.Rule = RuleID(binary.LittleEndian.Uint32(rest[16:]))
		n := int(rest[20])
		rest = rest[entryHeaderSize:]
		if n < 1 || n > policy.MaxStreams {
			return malformed("bucket: entry at byte %d has %d streams, want 1 to %d", at, n, policy.MaxStreams)
		}
		if len(rest) < n*streamSize {
			return malformed("bucket: entry at byte %d is cut short", at)
		}
		if k := len(b.Entries); k > 0 && bytes.Compare(b.Entries[k-1].Client[:], e.Client[:]) >= 0 {
			return malformed("bucket: entry at byte %d is out of order", at)
		}
		first := len(streams)
		last := uint64(0)
		for range n {
			s := policy.Stream{
				Claim:     binary.LittleEndian.Uint64(rest),
				Owner:     policy.Owner{Incarnation: binary.LittleEndian.Uint64(rest[8:]), Slot: binary.LittleEndian.Uint16(rest[28:])},
				ClaimedAt: int64(binary.LittleEndian.Uint64(rest[16:])),
				Context:   binary.LittleEndian.Uint32(rest[24:]),
			}
			rest = rest[streamSize:]
			if s.Claim <= last || s.Claim > b.Claims {
				return malformed("bucket: entry at byte %d has claim %d after %d of %d", at, s.Claim, last, b.Claims)
			}
			if s.Owner.Incarnation == 0 || s.Owner.Slot >= MaxWorkers {
				return malformed("bucket: entry at byte %d has a stream of slot %d, incarnation %d", at, s.Owner.Slot, s.Owner.Incarnation)
			}
			last = s.Claim
			streams = append(streams, s)
		}
		e.Streams = streams[first:len(streams):len(streams)]
		b.Entries = append(b.Entries, e)
	}
	b.streams = streams
	return nil
}

// Record is the value of a worker slot.
type Record struct {
	Incarnation uint64 // of the worker that holds the slot; 0: free, and so is everything else
	Queue       uint32 // token of the slot's queue; 0 until the worker has registered it
	Heartbeat   uint64 // moves on every tick of a live worker
	Live        uint32 // streams as of the last heartbeat
}

// Append appends the stored form of r to dst.
func (r Record) Append(dst []byte) []byte {
	dst = append(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint64(dst, r.Incarnation)
	dst = binary.LittleEndian.AppendUint32(dst, r.Queue)
	dst = binary.LittleEndian.AppendUint64(dst, r.Heartbeat)
	return binary.LittleEndian.AppendUint32(dst, r.Live)
}

// ParseRecord reads the stored form of a worker slot.
func ParseRecord(value []byte) (Record, error) {
	if len(value) != recordSize || value[0] != formatVersion {
		return Record{}, malformed("worker slot: % x", value[:min(len(value), recordSize)])
	}
	r := Record{
		Incarnation: binary.LittleEndian.Uint64(value[1:]),
		Queue:       binary.LittleEndian.Uint32(value[9:]),
		Heartbeat:   binary.LittleEndian.Uint64(value[13:]),
		Live:        binary.LittleEndian.Uint32(value[21:]),
	}
	if r.Incarnation == 0 && r != (Record{}) {
		return Record{}, malformed("worker slot: free, and yet %+v", r)
	}
	return r, nil
}

// Message tells a worker that a stream of its own was superseded.
type Message struct {
	Incarnation uint64 // of the worker it is meant for: a later owner of the queue ignores it
	Claim       uint64 // what the stream is registered under
	Context     uint32
	SentAt      int64 // Unix milliseconds
	Enforce     bool  // end the stream; else only take note that it is out of the registry
}

// Append appends the form of m that is sent to dst.
func (m Message) Append(dst []byte) []byte {
	dst = append(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint64(dst, m.Incarnation)
	dst = binary.LittleEndian.AppendUint64(dst, m.Claim)
	dst = binary.LittleEndian.AppendUint32(dst, m.Context)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.SentAt))
	if m.Enforce {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// ParseMessage reads the form of a message that is sent.
func ParseMessage(value []byte) (Message, error) {
	if len(value) != messageSize || value[0] != formatVersion || value[messageSize-1] > 1 {
		return Message{}, malformed("message: % x", value[:min(len(value), messageSize)])
	}
	return Message{
		Incarnation: binary.LittleEndian.Uint64(value[1:]),
		Claim:       binary.LittleEndian.Uint64(value[9:]),
		Context:     binary.LittleEndian.Uint32(value[17:]),
		SentAt:      int64(binary.LittleEndian.Uint64(value[21:])),
		Enforce:     value[messageSize-1] == 1,
	}, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
