package config

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The wire types that a Struct uses.
const (
	varintType  = uint64(protowire.VarintType)
	fixed64Type = uint64(protowire.Fixed64Type)
	bytesType   = uint64(protowire.BytesType)
)

// The tags of the messages in google/protobuf/struct.proto. A tag is a field number and a wire
// type.
const (
	// Struct: the field "fields", a map.
	tagMember = 1<<3 | bytesType

	// An entry of that map.
	tagKey   = 1<<3 | bytesType
	tagValue = 2<<3 | bytesType

	// Value: one of these.
	tagNull   = 1<<3 | varintType
	tagNumber = 2<<3 | fixed64Type
	tagString = 3<<3 | bytesType
	tagBool   = 4<<3 | varintType
	tagStruct = 5<<3 | bytesType
	tagList   = 6<<3 | bytesType

	// ListValue: the field "values".
	tagItem = 1<<3 | bytesType
)

// parseStruct reads a serialized google.protobuf.Struct, which Envoy passes on if the configuration
// is given as one. It returns false for everything else. JSON never looks like a Struct: in a
// Struct, the tag 0x12 comes before the value of each member, and JSON allows no such control
// character.
//
// The members of a Struct have no order, so they are sorted by name.
func parseStruct(data []byte) (root node, ok bool) {
	r := structReader{}
	root = r.object(data, 1)
	return root, !r.bad && len(root.members) > 0
}

// A structReader reads messages until it finds something that a Struct does not have.
type structReader struct{ bad bool }

// object reads a Struct, which is at this depth below the root.
func (r *structReader) object(message []byte, depth int) node {
	n := node{kind: object}
	r.fields(message, depth, func(tag uint64, entry []byte, _ uint64) {
		var m member
		r.bad = r.bad || tag != tagMember
		r.fields(entry, depth, func(tag uint64, content []byte, _ uint64) {
			switch tag {
			case tagKey:
				m.key = r.text(content)
			case tagValue:
				m.value = r.value(content, depth+1)
			default:
				r.bad = true
			}
		})
		r.bad = r.bad || m.value.kind == 0
		n.members = append(n.members, m)
	})
	slices.SortStableFunc(n.members, func(a, b member) int { return strings.Compare(a.key, b.key) })
	return n
}

// value reads a Value. A Value without a kind is null.
func (r *structReader) value(message []byte, depth int) node {
	n := node{kind: null}
	r.fields(message, depth, func(tag uint64, content []byte, bits uint64) {
		switch tag {
		case tagNull:
			n = node{kind: null}
		case tagNumber:
			n = node{kind: number, content: strconv.FormatFloat(math.Float64frombits(bits), 'g', -1, 64)}
		case tagString:
			n = textNode(r.text(content))
		case tagBool:
			n = node{kind: boolean, truth: bits != 0}
		case tagStruct:
			n = r.object(content, depth)
		case tagList:
			n = r.list(content, depth)
		default:
			r.bad = true
		}
	})
	return n
}

// list reads a ListValue.
func (r *structReader) list(message []byte, depth int) node {
	n := node{kind: list}
	r.fields(message, depth, func(tag uint64, content []byte, _ uint64) {
		r.bad = r.bad || tag != tagItem
		n.items = append(n.items, r.value(content, depth+1))
	})
	return n
}

func (r *structReader) text(content []byte) string {
	r.bad = r.bad || !utf8.Valid(content)
	return string(content)
}

// fields calls f for each field of a message: with its content if its wire type is bytesType, else
// with its bits.
func (r *structReader) fields(message []byte, depth int, f func(tag uint64, content []byte, bits uint64)) {
	r.bad = r.bad || depth > maxDepth
	for len(message) > 0 && !r.bad {
		fieldNumber, wireType, n := protowire.ConsumeTag(message)
		if n < 0 {
			r.bad = true
			return
		}
		message = message[n:]
		var content []byte
		var bits uint64
		switch wireType {
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			bits, n = protowire.ConsumeVarint(message)
		case protowire.Fixed64Type:
			bits, n = protowire.ConsumeFixed64(message)
		default:
			n = -1
		}
		if n < 0 {
			r.bad = true
			return
		}
		message = message[n:]
		f(protowire.EncodeTag(fieldNumber, wireType), content, bits)
	}
}
