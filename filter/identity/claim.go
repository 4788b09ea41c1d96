package identity

import (
	"encoding/binary"
	"math"
	"strconv"
)

// jwtAuthn is the namespace of dynamic metadata that jwt_authn writes to.
const jwtAuthn = "envoy.filters.http.jwt_authn"

// The wire types that dynamic metadata has on the way to a claim. protobuf-go's
// protowire has them too, but brings fmt and os with it.
const (
	varintType  = 0
	fixed64Type = 1
	bytesType   = 2
)

// The tags on the way to a claim: field number and wire type, of
// envoy/config/core/v3/base.proto and google/protobuf/struct.proto.
const (
	tagEntry = 1<<3 | bytesType // Metadata.filter_metadata and Struct.fields, both maps by name

	tagName  = 1<<3 | bytesType // an entry of such a map
	tagValue = 2<<3 | bytesType

	tagNumber = 2<<3 | fixed64Type // Value: one of these, or what is no scalar
	tagString = 3<<3 | bytesType
	tagStruct = 5<<3 | bytesType
)

// appendClaim appends the claim that path leads to in the payload that jwt_authn
// left under that name.
//
// It walks the metadata in its serialized form and does not ask Envoy for the
// claim itself: get_property drops the type, so the number 42 and a string of
// the same eight bytes come out alike, and so do a list and a string
// (serializeValue in source/extensions/common/wasm/context.cc). To fetch all the
// 382 bytes of an ordinary token's metadata takes no longer than to fetch one
// claim (3.0 us and 4.2 us); the walk doubles it, once for a stream that opens.
func appendClaim(dst []byte, metadata, name string, path []string) (key []byte, ok bool) {
	value := entry(entry(metadata, jwtAuthn), name)
	for _, claim := range path {
		object := kindOf(value)
		if object.tag != tagStruct {
			return dst, false
		}
		value = entry(object.content, claim)
	}
	switch claim := kindOf(value); claim.tag {
	case tagString:
		return appendPart(dst, claim.content)
	case tagNumber:
		return appendNumber(dst, math.Float64frombits(claim.bits))
	}
	return dst, false
}

// appendNumber appends n in decimal if it is the one whole number that this
// double can stand for.
func appendNumber(dst []byte, n float64) (key []byte, ok bool) {
	const largest = 1<<53 - 1 // 2^53 is what 2^53 + 1 is rounded to
	if n < -largest || n > largest {
		return dst, false
	}
	whole := int64(n)
	if float64(whole) != n { // a fraction, or NaN
		return dst, false
	}
	return appendPart(dst, strconv.FormatInt(whole, 10))
}

// entry returns the value of a map's entry, "" if there is none or if the message
// that has the map is malformed. Of entries with the same name the last counts,
// as it does for protobuf.
func entry(message, name string) (value string) {
	for rest := message; rest != ""; {
		var f field
		if f, rest = next(rest); f.tag == 0 {
			return ""
		}
		if f.tag != tagEntry {
			continue
		}
		found, v, ok := nameAndValue(f.content)
		if !ok {
			return ""
		}
		if found == name {
			value = v
		}
	}
	return value
}

// nameAndValue takes an entry of a map apart; ok is false if it is malformed.
func nameAndValue(entry string) (name, value string, ok bool) {
	for rest := entry; rest != ""; {
		var f field
		switch f, rest = next(rest); f.tag {
		case 0:
			return "", "", false
		case tagName:
			name = f.content
		case tagValue:
			value = f.content
		}
	}
	return name, value, true
}

// kindOf returns what is in a Value, with the tag 0 if that is nothing or
// malformed.
func kindOf(value string) (kind field) {
	for rest := value; rest != ""; {
		if kind, rest = next(rest); kind.tag == 0 {
			return field{}
		}
	}
	return kind
}

// field is one field of a message: its content if it has a length, else its
// bits.
type field struct {
	tag     uint64 // 0: malformed
	content string
	bits    uint64
}

// next returns the first field of a message and what follows it. It does what
// protowire does, for strings.
func next(message string) (f field, rest string) {
	tag, rest, ok := varint(message)
	if !ok {
		return field{}, ""
	}
	f.tag = tag
	switch tag & 7 {
	case bytesType:
		var size uint64
		if size, rest, ok = varint(rest); ok && size <= uint64(len(rest)) {
			f.content, rest = rest[:size], rest[size:]
			return f, rest
		}
	case varintType:
		if f.bits, rest, ok = varint(rest); ok {
			return f, rest
		}
	case fixed64Type:
		const size = 8
		if len(rest) >= size {
			for i := range size {
				f.bits |= uint64(rest[i]) << (8 * i)
			}
			return f, rest[size:]
		}
	}
	return field{}, "" // cut short, or a group or 32 bits, which these messages do not have
}

// varint returns the number that s begins with and what follows it; ok is false
// if s ends before the number does, or that has more than 64 bits.
func varint(s string) (n uint64, rest string, ok bool) {
	for i := range min(len(s), binary.MaxVarintLen64) {
		b := s[i]
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return n, s[i+1:], i < binary.MaxVarintLen64-1 || b <= 1
		}
	}
	return 0, "", false
}
