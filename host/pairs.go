package host

import "encoding/binary"

// Limits of a serialized map that comes from the guest. A map that exceeds them is read as an empty
// map, without an error.
//
// cpp-host: include/proxy-wasm/limits.h.
const (
	maxPairsBytes = 1 << 20
	maxPairsCount = 1024
)

// encodePairs serializes a map as the ABI defines it: the number of pairs; then the lengths of all
// names and values; then all names and values. A NUL that the length does not count follows each
// name and each value. Numbers are little-endian uint32. (The bytes of the specification's example
// are wrong.)
//
// cpp-host: src/pairs_util.cc, marshalPairs.
func encodePairs(h Headers) []byte {
	size := 4
	for _, e := range h {
		size += 8 + len(e.Name) + 1 + len(e.Value) + 1
	}
	b := make([]byte, 0, size)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h)))
	for _, e := range h {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Name)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Value)))
	}
	for _, e := range h {
		b = append(append(b, e.Name...), 0)
		b = append(append(b, e.Value...), 0)
	}
	return b
}

// decodePairs is the inverse of encodePairs. It returns nil for anything that encodePairs would not
// have written, such as input that is too short or too long or lacks a NUL, and for a map that
// exceeds the limits. The result shares no memory with b.
//
// cpp-host: src/pairs_util.cc, toPairs.
func decodePairs(b []byte) Headers {
	if len(b) < 4 || len(b) > maxPairsBytes {
		return nil
	}
	count := binary.LittleEndian.Uint32(b)
	if count > maxPairsCount || uint64(len(b)-4) < uint64(count)*8 {
		return nil
	}
	lengths, data := b[4:4+count*8], b[4+count*8:]
	next := func() (string, bool) {
		n := uint64(binary.LittleEndian.Uint32(lengths))
		lengths = lengths[4:]
		if n+1 > uint64(len(data)) || data[n] != 0 {
			return "", false
		}
		s := string(data[:n])
		data = data[n+1:]
		return s, true
	}
	pairs := make(Headers, count)
	for i := range pairs {
		var okName, okValue bool
		if pairs[i].Name, okName = next(); !okName {
			return nil
		}
		if pairs[i].Value, okValue = next(); !okValue {
			return nil
		}
	}
	if len(data) != 0 {
		return nil
	}
	return pairs
}
