package module

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
)

const dataSection = 11

// rewriteSection returns wasm with the content of a section replaced by what rewrite makes of it.
func rewriteSection(wasm []byte, section byte, rewrite func(content []byte) ([]byte, error)) ([]byte, error) {
	var header = []byte("\x00asm\x01\x00\x00\x00")
	if !bytes.HasPrefix(wasm, header) {
		return nil, errors.New("not a WebAssembly module")
	}
	out := slices.Clone(header)
	r := reader{rest: wasm[len(header):]}
	for len(r.rest) > 0 && r.err == nil {
		id := r.byte()
		content := r.bytes(r.uint())
		if r.err == nil && id == section {
			var err error
			if content, err = rewrite(content); err != nil {
				return nil, err
			}
		}
		out = append(out, id)
		out = appendUint(out, uint32(len(content)))
		out = append(out, content...)
	}
	return out, r.err
}

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
