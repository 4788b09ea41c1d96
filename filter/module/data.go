package module

import (
	"errors"
)

// maxMemory bounds what data may fill; the filter's fills two megabytes.
const maxMemory = 64 << 20

var errData = errors.New("data is not in active segments at constant addresses of one memory")

// readData returns the memory that a data section fills, from address 0 to the last byte of its last segment.
func readData(section []byte) ([]byte, error) {
	const i32Const, end = 0x41, 0x0b
	r := reader{rest: section}
	var memory []byte
	for range r.uint() {
		kind, op := r.byte(), r.byte()
		address := r.int()
		last := r.byte()
		content := r.bytes(r.uint())
		if r.err != nil {
			return nil, r.err
		}
		if kind != 0 || op != i32Const || last != end || address < 0 || int(address)+len(content) > maxMemory {
			return nil, errData
		}
		if missing := int(address) + len(content) - len(memory); missing > 0 {
			memory = append(memory, make([]byte, missing)...)
		}
		copy(memory[address:], content)
	}
	if r.err == nil && len(r.rest) > 0 {
		r.fail()
	}
	return memory, r.err
}

// appendData appends a data section that fills memory. A run of zeros stays out if it is longer than what another
// segment costs: the linker's rule, and binaryen's.
func appendData(dst, memory []byte) []byte {
	const i32Const, end = 0x41, 0x0b
	const segmentCost = 8
	var segments []byte
	var count uint32
	for at := 0; at < len(memory); {
		if memory[at] == 0 {
			at++
			continue
		}
		stop, zeros := at, 0 // stop is past the last byte that is not zero
		for i := at; i < len(memory) && zeros < segmentCost; i++ {
			if memory[i] == 0 {
				zeros++
			} else {
				stop, zeros = i+1, 0
			}
		}
		segments = append(segments, 0, i32Const)
		segments = appendInt(segments, int32(at))
		segments = append(segments, end)
		segments = appendUint(segments, uint32(stop-at))
		segments = append(segments, memory[at:stop]...)
		count++
		at = stop
	}
	return append(appendUint(dst, count), segments...)
}

// int reads a signed LEB128 number of at most 32 bits.
func (r *reader) int() int32 {
	var n int64
	for shift := uint(0); shift < 35; shift += 7 {
		b := r.byte()
		n |= int64(b&0x7f) << shift
		if b&0x80 == 0 {
			if b&0x40 != 0 {
				n |= -1 << (shift + 7)
			}
			if n != int64(int32(n)) {
				r.fail()
			}
			return int32(n)
		}
	}
	r.fail()
	return 0
}

func appendInt(dst []byte, n int32) []byte {
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(dst, b)
		}
		dst = append(dst, b|0x80)
	}
}
