package fleet

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// The stored form has fixed widths, is big-endian, and is canonical: bytes that parse encode to the
// same bytes. The version is a part of every key, so two formats never meet.
const (
	formatVersion = "1"

	fixedSize    = 8 + 8 + spentSize + spentSize
	spentSize    = 2 + 8
	instanceSize = 8

	idSize   = 22     // of an ID in base64url
	nameSize = 16 + 8 // of a stream: its member's lease and its context, in hex

	dismissed = "!dismissed" // value of a key that lists a stream: an operator wants it ended
)

// ErrMalformed says that a value under the prefix is not of this format.
var ErrMalformed = errors.New("malformed record")

// ID is a keyed hash of a rule's mode and name and of a client's key under that rule. All Envoys of
// a fleet hash with the same secret.
type ID [16]byte

// Stamp is a stream's place in the order of its client's streams: larger is newer. It has the
// milliseconds of a clock in its upper bits and random bits below, so two streams do not share one.
type Stamp uint64

const (
	randomBits = 22
	mostMillis = 1<<(64-randomBits) - 1 // in the year 2109
)

// after returns a stamp that is larger than newest, and not older than now if the clock says so.
// now is in milliseconds.
func after(newest Stamp, now int64, random uint64) Stamp {
	ms := min(max(uint64(max(now, 0)), newest.millis()+1), mostMillis)
	return Stamp(ms<<randomBits | random>>(64-randomBits))
}

func (s Stamp) millis() uint64 { return uint64(s) >> randomBits }

// name is a stream's name in the fleet: its member's lease, and its context.
type name struct {
	lease   int64
	context uint32
}

// String returns the name as it is in keys. Each stream needs several: a format would cost as much
// as all else that is done for it.
func (n name) String() string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, nameSize/2), uint64(n.lease))
	return hex.EncodeToString(binary.BigEndian.AppendUint32(b, n.context))
}

// owner returns the name as package policy has it.
func (n name) owner() policy.Owner { return policy.Owner{Incarnation: uint64(n.lease)} }

func nameOf(s policy.Stream) name { return name{int64(s.Owner.Incarnation), s.Context} }

func parseName(s string) (n name, ok bool) {
	if len(s) != nameSize || strings.ToLower(s) != s {
		return name{}, false
	}
	lease, err := strconv.ParseUint(s[:16], 16, 64)
	context, err2 := strconv.ParseUint(s[16:], 16, 32)
	return name{int64(lease), uint32(context)}, err == nil && err2 == nil
}

// keys makes the keys of a fleet.
type keys struct{ prefix string }

func newKeys(prefix string) keys { return keys{prefix + "/" + formatVersion + "/"} }

// client is what the keys of a client's streams begin with.
func (k keys) client(id ID) string {
	return k.prefix + "c/" + base64.RawURLEncoding.EncodeToString(id[:]) + "/"
}

func (k keys) stream(id ID, n name) string { return k.client(id) + n.String() }

// member is what the keys of a member begin with, and the key of its sentinel.
func (k keys) member(lease int64) string { return k.prefix + "m/" + name{lease, 0}.String()[:16] + "/" }

// listed is the key that lists a stream with its member.
func (k keys) listed(n name) string {
	s := n.String()
	return k.prefix + "m/" + s[:16] + "/" + s[16:]
}

// appendID and parseID are the value of a key that lists a stream.
func appendID(id ID) []byte { return base64.RawURLEncoding.AppendEncode(nil, id[:]) }

func parseID(value []byte) (id ID, ok bool) {
	if len(value) != idSize {
		return ID{}, false
	}
	_, err := base64.RawURLEncoding.Strict().Decode(id[:], value)
	return id, err == nil
}

// Record is the value of a stream's key. Its memory is the client's, as of the newest stream.
type Record struct {
	Stamp    Stamp
	Instance policy.Instance
	policy.Memory
}

// Append appends the stored form of r to dst.
func (r Record) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Stamp))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Instance))
	for _, spent := range [...]policy.Spent{r.Spent, r.Reconnects} {
		dst = binary.BigEndian.AppendUint16(dst, spent.Tokens)
		dst = binary.BigEndian.AppendUint64(dst, uint64(spent.Since))
	}
	for _, instance := range r.Superseded {
		dst = binary.BigEndian.AppendUint64(dst, uint64(instance))
	}
	return dst
}

// ParseRecord reads the stored form of a record.
func ParseRecord(b []byte) (Record, error) {
	rest := len(b) - fixedSize
	if rest < 0 || rest%instanceSize != 0 || rest > policy.MaxSuperseded*instanceSize {
		return Record{}, fmt.Errorf("%w: %d bytes, want %d, and %d for each of up to %d instances", ErrMalformed, len(b), fixedSize, instanceSize, policy.MaxSuperseded)
	}
	spent := func(b []byte) policy.Spent {
		return policy.Spent{Tokens: binary.BigEndian.Uint16(b), Since: int64(binary.BigEndian.Uint64(b[2:]))}
	}
	r := Record{
		Stamp:    Stamp(binary.BigEndian.Uint64(b)),
		Instance: policy.Instance(binary.BigEndian.Uint64(b[8:])),
		Memory:   policy.Memory{Spent: spent(b[16:]), Reconnects: spent(b[16+spentSize:])},
	}
	if r.Stamp == 0 || r.Stamp.millis() == mostMillis {
		return Record{}, fmt.Errorf("%w: stamp %d, want one that has older and newer ones", ErrMalformed, r.Stamp)
	}
	for _, spent := range [...]policy.Spent{r.Spent, r.Reconnects} {
		if spent.Tokens == 0 && spent.Since != 0 {
			return Record{}, fmt.Errorf("%w: no token is spent, want no time: %d", ErrMalformed, spent.Since)
		}
	}
	for b := b[fixedSize:]; len(b) > 0; b = b[instanceSize:] {
		instance := policy.Instance(binary.BigEndian.Uint64(b))
		if instance == 0 || slices.Contains(r.Superseded, instance) {
			return Record{}, fmt.Errorf("%w: superseded instance %x, want each once and none 0", ErrMalformed, uint64(instance))
		}
		r.Superseded = append(r.Superseded, instance)
	}
	return r, nil
}
