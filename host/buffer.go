package host

import (
	"bytes"
	"slices"
)

// buffer is a body or a configuration, as the guest reads and changes it.
//
// Envoy: source/extensions/common/wasm/context.cc, Buffer.
type buffer struct {
	data     []byte
	readOnly bool // a write is BadArgument
}

// read returns a copy of at most length bytes from start. A range that goes beyond the end is cut
// there, and one that begins beyond it is empty. The sum is computed in 64 bits, as in cpp-host, so
// no range overflows.
//
// cpp-host: src/exports.cc, get_buffer_bytes.
func (b *buffer) read(start, length uint32) []byte {
	from := min(uint64(start), uint64(len(b.data)))
	to := min(uint64(start)+uint64(length), uint64(len(b.data)))
	return bytes.Clone(b.data[from:to])
}

// write is proxy_set_buffer_bytes. Only these ranges have a meaning:
//
//	start 0         the first bytes, length of them or all if there are fewer, are replaced
//	start >= size   append
//	anything else   BadArgument
//
// So start 0 and length 0 prepend, and the largest length replaces everything.
//
// Envoy: source/extensions/common/wasm/context.cc, Buffer::copyFrom.
func (b *buffer) write(start, length uint32, data []byte) Status {
	size := uint64(len(b.data))
	switch {
	case b.readOnly:
		return StatusBadArgument
	case start == 0:
		b.data = slices.Concat(data, b.data[min(uint64(length), size):])
	case uint64(start) >= size:
		b.data = slices.Concat(b.data, data)
	default:
		return StatusBadArgument
	}
	return StatusOk
}
