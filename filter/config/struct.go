package config

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The wire types that a Struct has. protobuf-go's protowire reads them too, but brings fmt and os with it.
const (
	varintType  = 0
	fixed64Type = 1
	bytesType   = 2
)

// The tags of google/protobuf/struct.proto: field number and wire type.
const (
	tagMember = 1<<3 | bytesType // Struct.fields, a map

	tagKey   = 1<<3 | bytesType // an entry of that map
	tagValue = 2<<3 | bytesType

	tagNull   = 1<<3 | varintType // Value: one of these
	tagNumber = 2<<3 | fixed64Type
	tagString = 3<<3 | bytesType
	tagBool   = 4<<3 | varintType
	tagStruct = 5<<3 | bytesType
	tagList   = 6<<3 | bytesType

	tagItem = 1<<3 | bytesType // ListValue.values
)

// parseStruct reads a google.protobuf.Struct in its binary form, which is what
// Envoy hands over for a configuration that is given as one. It reports false
// for anything else. No JSON is taken for a Struct: a member of a Struct has
// the tag 0x12 before its value, a control character that JSON has no place for.
//
// A map has no order on the wire, so members come in the order of their names.
func parseStruct(data []byte) (root node, ok bool) {
	r := structReader{}
	root = r.object(data, 1)
	return root, !r.bad && len(root.members) > 0
}

// A structReader reads until it meets something that a Struct does not have.
type structReader struct{ bad bool }

func (r *structReader) object(data []byte, depth int) node {
	n := node{kind: object}
	r.fields(data, depth, func(tag uint64, entry []byte, _ uint64) {
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

func (r *structReader) value(data []byte, depth int) node {
	n := node{kind: null}
	r.fields(data, depth, func(tag uint64, content []byte, bits uint64) {
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

func (r *structReader) list(data []byte, depth int) node {
	n := node{kind: list}
	r.fields(data, depth, func(tag uint64, content []byte, _ uint64) {
		r.bad = r.bad || tag != tagItem
		n.items = append(n.items, r.value(content, depth+1))
	})
	return n
}

func (r *structReader) text(content []byte) string {
	r.bad = r.bad || !utf8.Valid(content)
	return string(content)
}

// fields calls f for each field of a message: with its content if it has a
// length, else with its bits.
func (r *structReader) fields(data []byte, depth int, f func(tag uint64, content []byte, bits uint64)) {
	r.bad = r.bad || depth > maxDepth
	for len(data) > 0 && !r.bad {
		tag, n := binary.Uvarint(data)
		if n <= 0 {
			r.bad = true
			return
		}
		data = data[n:]
		var content []byte
		var bits uint64
		switch tag & 7 {
		case bytesType:
			if bits, n = binary.Uvarint(data); n > 0 && bits <= uint64(len(data)-n) {
				content, n = data[n:n+int(bits)], n+int(bits)
			} else {
				n = 0
			}
		case varintType:
			bits, n = binary.Uvarint(data)
		case fixed64Type:
			if n = 0; len(data) >= 8 {
				bits, n = binary.LittleEndian.Uint64(data), 8
			}
		default:
			n = 0
		}
		if n <= 0 {
			r.bad = true
			return
		}
		data = data[n:]
		f(tag, content, bits)
	}
}
