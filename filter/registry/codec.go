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

// The stored form has fixed widths, is little-endian, and is canonical: bytes that parse encode to
// the same bytes, so there is exactly one way to write a state. formatVersion is the first byte of
// every value and a part of every key.
const (
	formatVersion = 3
	keyPrefix     = "streamlatch/3/"

	bucketHeaderSize = 1 + 8
	entryHeaderSize  = 16 + 4 + 1 + 1 + 1 + 1
	spentSize        = 2 + 8
	dismissedSize    = 8
	untilSize        = 8
	instanceSize     = 8
	streamSize       = 8 + 8 + 8 + 8 + 4 + 2
	recordSize       = 1 + 8 + 4 + 8 + 8 + 4 + 4
	messageSize      = 1 + addressSize + 8 + (4 + addressSize) + 1
	addressSize      = 8 + 8 + 4 + 4
	reportHeaderSize = 1 + 8 + 4
)

// MaxWorkers is the number of worker slots.
const MaxWorkers = 1024

func bucketKey(n uint32) string { return numbered(keyPrefix+"b/", n) }
func slotKey(n uint16) string   { return numbered(keyPrefix+"w/", uint32(n)) }
func reportKey(n uint16) string { return numbered(keyPrefix+"r/", uint32(n)) }
func queueName(n uint16) string { return numbered(keyPrefix+"q/", uint32(n)) }

func numbered(prefix string, n uint32) string {
	return string(strconv.AppendUint(append(make([]byte, 0, 32), prefix...), uint64(n), 10))
}

// ClientID is a keyed hash of a rule's name and a client's key under that rule. The key itself is
// never stored.
type ClientID [16]byte

// Short returns the first 8 hex digits, for the log.
func (c ClientID) Short() string { return hex.EncodeToString(c[:4]) }

// RuleID is a keyed hash of a rule's name.
type RuleID uint32

// Bucket is the value of one bucket key: the entries of the clients whose hash falls into it.
type Bucket struct {
	Claims  uint64  // the number of the last claim in this bucket
	Entries []Entry // in ascending order of Client

	streams   []policy.Stream   // memory of parse: the streams of all entries
	instances []policy.Instance // memory of parse: the superseded instances of all entries
}

// Entry is what the registry holds about one client. It goes with the client's last stream, or some
// time later if something is remembered about the client until then (policy.Client.Until). So
// memory depends on live and recent streams, and not on the number of clients ever seen.
type Entry struct {
	ID   ClientID
	Rule RuleID
	policy.Client
}

func (b *Bucket) reset() { b.Claims, b.Entries = 0, b.Entries[:0] }

// find returns the index of the client's entry; if there is none, the index where it belongs.
func (b *Bucket) find(client ClientID) (at int, found bool) {
	return slices.BinarySearchFunc(b.Entries, client, func(e Entry, c ClientID) int { return bytes.Compare(e.ID[:], c[:]) })
}

// client returns what the bucket holds about the client; without an entry, the zero Client.
func (b *Bucket) client(id ClientID) policy.Client {
	if at, found := b.find(id); found {
		return b.Entries[at].Client
	}
	return policy.Client{}
}

// mostMemories bounds the entries without streams in one bucket.
const mostMemories = 16

// put stores client in the entry of id. If there is nothing to store, it removes the entry. If
// there are too many entries without streams, the one that would go first goes.
func (b *Bucket) put(id ClientID, rule RuleID, client policy.Client) {
	at, found := b.find(id)
	switch {
	case len(client.Streams) == 0 && client.Until == 0:
		if found {
			b.Entries = slices.Delete(b.Entries, at, at+1)
		}
		return
	case found:
		b.Entries[at].Client = client
	default:
		b.Entries = slices.Insert(b.Entries, at, Entry{ID: id, Rule: rule, Client: client})
	}
	if len(client.Streams) > 0 {
		return
	}
	memories, first := 0, 0
	for i := range b.Entries {
		if len(b.Entries[i].Streams) > 0 {
			continue
		}
		if memories++; memories == 1 || b.Entries[i].Until < b.Entries[first].Until {
			first = i
		}
	}
	if memories > mostMemories {
		b.Entries = slices.Delete(b.Entries, first, first+1)
	}
}

// What an entry has besides its streams, as bits of one byte.
const (
	hasSpent = 1 << iota
	hasReconnects
	hasDismissed
	hasUntil
)

// has returns the bits of what e has.
func (e *Entry) has() (bits byte) {
	if e.Spent != (policy.Spent{}) {
		bits |= hasSpent
	}
	if e.Reconnects != (policy.Spent{}) {
		bits |= hasReconnects
	}
	if e.Dismissed != 0 {
		bits |= hasDismissed
	}
	if e.Until != 0 {
		bits |= hasUntil
	}
	return bits
}

// sizeOf returns how many bytes that takes.
func sizeOf(bits byte) (n int) {
	for i, size := range [...]int{spentSize, spentSize, dismissedSize, untilSize} {
		if bits&(1<<i) != 0 {
			n += size
		}
	}
	return n
}

func appendSpent(dst []byte, s policy.Spent) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, s.Tokens)
	return binary.LittleEndian.AppendUint64(dst, uint64(s.Since))
}

func parseSpent(b []byte) policy.Spent {
	return policy.Spent{Tokens: binary.LittleEndian.Uint16(b), Since: int64(binary.LittleEndian.Uint64(b[2:]))}
}

// Append appends the stored form of b to dst.
func (b *Bucket) Append(dst []byte) []byte {
	size := bucketHeaderSize
	for i := range b.Entries {
		e := &b.Entries[i]
		size += entryHeaderSize + sizeOf(e.has()) + instanceSize*len(e.Superseded) + streamSize*len(e.Streams)
	}
	dst = slices.Grow(dst, size)
	dst = append(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint64(dst, b.Claims)
	for i := range b.Entries {
		e := &b.Entries[i]
		dst = append(dst, e.ID[:]...)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(e.Rule))
		has := e.has()
		dst = append(dst, byte(e.MaxStreams), has, byte(len(e.Superseded)), byte(len(e.Streams)))
		if has&hasSpent != 0 {
			dst = appendSpent(dst, e.Spent)
		}
		if has&hasReconnects != 0 {
			dst = appendSpent(dst, e.Reconnects)
		}
		if has&hasDismissed != 0 {
			dst = binary.LittleEndian.AppendUint64(dst, e.Dismissed)
		}
		if has&hasUntil != 0 {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Until))
		}
		for _, instance := range e.Superseded {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(instance))
		}
		for _, s := range e.Streams {
			dst = binary.LittleEndian.AppendUint64(dst, s.Claim)
			dst = binary.LittleEndian.AppendUint64(dst, s.Owner.Incarnation)
			dst = binary.LittleEndian.AppendUint64(dst, uint64(s.ClaimedAt))
			dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Instance))
			dst = binary.LittleEndian.AppendUint32(dst, s.Context)
			dst = binary.LittleEndian.AppendUint16(dst, s.Owner.Slot)
		}
	}
	return dst
}

// ParseBucket reads the stored form of a bucket. Anything that [Bucket.Append] could not have
// written is an error that wraps [ErrMalformed].
func ParseBucket(value []byte) (Bucket, error) {
	var b Bucket
	err := b.parse(value)
	b.streams, b.instances = nil, nil
	return b, err
}

// parse is ParseBucket into b. It uses b's memory again, so entries of an earlier parse are
// overwritten.
func (b *Bucket) parse(value []byte) error {
	b.reset()
	if len(value) < bucketHeaderSize || value[0] != formatVersion {
		return malformed("bucket: header %x, want %d bytes of version %d", value[:min(len(value), bucketHeaderSize)], bucketHeaderSize, formatVersion)
	}
	b.Claims = binary.LittleEndian.Uint64(value[1:])
	if b.Claims == math.MaxUint64 { // the next claim would get number 0 and be the oldest
		return malformed("bucket: claim number %d has no successor", b.Claims)
	}
	rest := value[bucketHeaderSize:]
	// The entries share two arrays. The capacity of each slice ends where the next begins, so
	// append copies.
	streams := slices.Grow(b.streams[:0], len(rest)/streamSize)
	instances := b.instances[:0]
	for len(rest) > 0 {
		at := len(value) - len(rest)
		bad := func(format string, args ...any) error {
			return malformed("bucket: entry at byte %d %s", at, fmt.Sprintf(format, args...))
		}
		if len(rest) < entryHeaderSize {
			return bad("is cut short")
		}
		e := Entry{ID: ClientID(rest), Rule: RuleID(binary.LittleEndian.Uint32(rest[16:]))}
		e.MaxStreams = int(rest[20])
		has, known, n := rest[21], int(rest[22]), int(rest[23])
		rest = rest[entryHeaderSize:]
		switch {
		case n > policy.MaxStreams || e.MaxStreams > policy.MaxStreams || known > policy.MaxSuperseded:
			return bad("has %d streams and a limit of %d, want up to %d, and %d superseded instances, want up to %d",
				n, e.MaxStreams, policy.MaxStreams, known, policy.MaxSuperseded)
		case (n == 0) != (e.MaxStreams == 0), n == 0 && known > 0:
			return bad("has %d streams, a limit of %d and %d superseded instances, want none or all", n, e.MaxStreams, known)
		case has >= 2*hasUntil, n == 0 && has&hasUntil == 0, has&hasDismissed != 0 && has&hasUntil == 0:
			return bad("has %d streams and the bits %b, want a time until which something is remembered", n, has)
		case len(rest) < sizeOf(has)+known*instanceSize+n*streamSize:
			return bad("is cut short")
		}
		if has&hasSpent != 0 {
			e.Spent, rest = parseSpent(rest), rest[spentSize:]
		}
		if has&hasReconnects != 0 {
			e.Reconnects, rest = parseSpent(rest), rest[spentSize:]
		}
		if has&hasDismissed != 0 {
			e.Dismissed, rest = binary.LittleEndian.Uint64(rest), rest[dismissedSize:]
		}
		if has&hasUntil != 0 {
			e.Until, rest = int64(binary.LittleEndian.Uint64(rest)), rest[untilSize:]
		}
		switch {
		case e.has() != has:
			return bad("has the bits %b for values that are 0", has)
		case e.Spent.Tokens == 0 && e.Spent.Since != 0, e.Reconnects.Tokens == 0 && e.Reconnects.Since != 0:
			return bad("has no spent token, but the time of one")
		case e.Dismissed > b.Claims:
			return bad("has dismissed claim %d, want at most %d", e.Dismissed, b.Claims)
		}
		if k := len(b.Entries); k > 0 && bytes.Compare(b.Entries[k-1].ID[:], e.ID[:]) >= 0 {
			return bad("is out of order")
		}
		if known > 0 {
			first := len(instances)
			for range known {
				instance := policy.Instance(binary.LittleEndian.Uint64(rest))
				rest = rest[instanceSize:]
				if instance == 0 || slices.Contains(instances[first:], instance) {
					return bad("has superseded instance %x, want each once and none 0", uint64(instance))
				}
				instances = append(instances, instance)
			}
			e.Superseded = instances[first:len(instances):len(instances)]
		}
		first := len(streams)
		last := uint64(0)
		for range n {
			s := policy.Stream{
				Claim:     binary.LittleEndian.Uint64(rest),
				Owner:     policy.Owner{Incarnation: binary.LittleEndian.Uint64(rest[8:]), Slot: binary.LittleEndian.Uint16(rest[36:])},
				ClaimedAt: int64(binary.LittleEndian.Uint64(rest[16:])),
				Instance:  policy.Instance(binary.LittleEndian.Uint64(rest[24:])),
				Context:   binary.LittleEndian.Uint32(rest[32:]),
			}
			rest = rest[streamSize:]
			if s.Claim <= last || s.Claim > b.Claims {
				return bad("has claim %d, want more than %d and at most %d", s.Claim, last, b.Claims)
			}
			if s.Owner.Incarnation == 0 || s.Owner.Slot >= MaxWorkers {
				return bad("has a stream of slot %d, incarnation %d, want a slot below %d and an incarnation that is not 0",
					s.Owner.Slot, s.Owner.Incarnation, MaxWorkers)
			}
			last = s.Claim
			streams = append(streams, s)
		}
		if n > 0 {
			e.Streams = streams[first:len(streams):len(streams)]
		}
		b.Entries = append(b.Entries, e)
	}
	b.streams, b.instances = streams, instances
	return nil
}

// Record is the value of a worker slot.
type Record struct {
	Incarnation uint64 // of the worker that holds the slot; 0 if it is free, and then all else is 0
	Queue       uint32 // token of the slot's queue; 0 until the worker has registered it
	Heartbeat   uint64 // a live worker moves it on at every tick
	BeatAt      int64  // time of the last heartbeat in milliseconds, see Worker.silent
	Live        uint32 // streams of the worker in the registry, as of the last heartbeat or claim
	Told        uint32 // messages that others have sent, or are about to send, to this incarnation
}

// Append appends the stored form of r to dst.
func (r Record) Append(dst []byte) []byte {
	dst = append(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint64(dst, r.Incarnation)
	dst = binary.LittleEndian.AppendUint32(dst, r.Queue)
	dst = binary.LittleEndian.AppendUint64(dst, r.Heartbeat)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.BeatAt))
	dst = binary.LittleEndian.AppendUint32(dst, r.Live)
	return binary.LittleEndian.AppendUint32(dst, r.Told)
}

// ParseRecord reads the stored form of a worker slot.
func ParseRecord(value []byte) (Record, error) {
	if len(value) != recordSize || value[0] != formatVersion {
		return Record{}, malformed("worker slot: found %d bytes %x, want %d bytes of version %d", len(value), value[:min(len(value), recordSize)], recordSize, formatVersion)
	}
	r := Record{
		Incarnation: binary.LittleEndian.Uint64(value[1:]),
		Queue:       binary.LittleEndian.Uint32(value[9:]),
		Heartbeat:   binary.LittleEndian.Uint64(value[13:]),
		BeatAt:      int64(binary.LittleEndian.Uint64(value[21:])),
		Live:        binary.LittleEndian.Uint32(value[29:]),
		Told:        binary.LittleEndian.Uint32(value[33:]),
	}
	if r.Incarnation == 0 && r != (Record{}) {
		return Record{}, malformed("worker slot: incarnation 0 is a free slot, want all other bytes 0: %x", value)
	}
	return r, nil
}

// Address names a stream to its owner.
type Address struct {
	Incarnation uint64 // of the owner; a later owner of the queue ignores the message
	Claim       uint64 // the stream's claim number
	Context     uint32
	Bucket      uint32
}

// Message is what one worker sends another about a stream of the receiver.
type Message struct {
	Address
	SentAt  int64 // milliseconds
	ReplyTo Reply // the claim that waits for the stream's end; zero if none does
	Kind    MessageKind
}

// Reply names a claim that waits until a stream that it superseded has ended.
type Reply struct {
	Queue uint32 // of the claim's worker, never 0
	Address
}

// MessageKind is what a [Message] says.
type MessageKind uint8

const (
	Noted     MessageKind = iota + 1 // the stream was superseded, but its rule only observes: do not end it
	Yield                            // the stream was superseded: end it
	Dismissed                        // an operator dismissed the stream: end it
	Recalled                         // the worker's message to itself, see [Worker.Recall]
	Gone                             // to a waiting claim: a stream that it superseded has ended
	Replaced                         // the stream was superseded by one of its own instance: end it
)

func (a Address) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, a.Incarnation)
	dst = binary.LittleEndian.AppendUint64(dst, a.Claim)
	dst = binary.LittleEndian.AppendUint32(dst, a.Context)
	return binary.LittleEndian.AppendUint32(dst, a.Bucket)
}

func parseAddress(b []byte) Address {
	return Address{
		Incarnation: binary.LittleEndian.Uint64(b),
		Claim:       binary.LittleEndian.Uint64(b[8:]),
		Context:     binary.LittleEndian.Uint32(b[16:]),
		Bucket:      binary.LittleEndian.Uint32(b[20:]),
	}
}

// Append appends the form in which m is sent to dst.
func (m Message) Append(dst []byte) []byte {
	dst = append(dst, formatVersion)
	dst = m.Address.append(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.SentAt))
	dst = binary.LittleEndian.AppendUint32(dst, m.ReplyTo.Queue)
	dst = m.ReplyTo.Address.append(dst)
	return append(dst, byte(m.Kind))
}

// ParseMessage reads the form in which a message is sent.
func ParseMessage(value []byte) (Message, error) {
	if len(value) != messageSize || value[0] != formatVersion {
		return Message{}, malformed("message: found %d bytes %x, want %d bytes of version %d", len(value), value[:min(len(value), messageSize)], messageSize, formatVersion)
	}
	const sentAt = 1 + addressSize
	m := Message{
		Address: parseAddress(value[1:]),
		SentAt:  int64(binary.LittleEndian.Uint64(value[sentAt:])),
		ReplyTo: Reply{Queue: binary.LittleEndian.Uint32(value[sentAt+8:]), Address: parseAddress(value[sentAt+12:])},
		Kind:    MessageKind(value[messageSize-1]),
	}
	if m.Kind < Noted || m.Kind > Replaced {
		return Message{}, malformed("message: kind %d, want %d to %d", m.Kind, Noted, Replaced)
	}
	return m, nil
}
