package module

import (
	"encoding/binary"
	"errors"
)

// reader reads the binary format of WebAssembly; after an error it returns zeros.
type reader struct {
	rest []byte
	err  error
}

var errTruncated = errors.New("module is cut short")

func (r *reader) byte() byte {
	if b := r.bytes(1); r.err == nil {
		return b[0]
	}
	return 0
}

// uint reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) uint() uint32 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > 1<<32-1 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return uint32(n)
}

func (r *reader) bytes(n uint32) []byte {
	if r.err != nil || uint64(n) > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errTruncated
	}
	r.rest = nil
}

func appendUint(dst []byte, n uint32) []byte { return binary.AppendUvarint(dst, uint64(n)) }
