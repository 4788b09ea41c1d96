package identity

import (
	"encoding/binary"
	"strings"
)

// query returns the part of path between the first "?" and the fragment.
func query(path string) string {
	path, _, _ = strings.Cut(path, "#")
	_, query, _ := strings.Cut(path, "?")
	return query
}

// appendParameter appends the decoded value of the first parameter with this name. Only "&" ends a
// parameter; ";" is an ordinary character, as it is for Envoy and in the URL standard. A "%" that
// no two hexadecimal digits follow stands for itself, as in the URL standard.
//
// The length comes before the value in the key. So the value is measured first and decoded second,
// which needs no second buffer.
func appendParameter(dst []byte, query, name string) (key []byte, ok bool) {
	for rest, more := query, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		found, value, _ := strings.Cut(pair, "=")
		if pair == "" || !decodesTo(found, name) {
			continue
		}
		if value == "" {
			return dst, false
		}
		return appendDecoded(binary.AppendUvarint(dst, uint64(decodedLen(value))), value), true
	}
	return dst, false
}

// decodesTo reports whether encoded is plain after decoding.
func decodesTo(encoded, plain string) bool {
	for len(encoded) > 0 {
		b, width := decode(encoded)
		if plain == "" || b != plain[0] {
			return false
		}
		encoded, plain = encoded[width:], plain[1:]
	}
	return plain == ""
}

// decodedLen returns the length of encoded after decoding.
func decodedLen(encoded string) (n int) {
	for len(encoded) > 0 {
		_, width := decode(encoded)
		encoded = encoded[width:]
		n++
	}
	return n
}

// appendDecoded appends the decoded bytes of encoded.
func appendDecoded(dst []byte, encoded string) []byte {
	for len(encoded) > 0 {
		b, width := decode(encoded)
		dst = append(dst, b)
		encoded = encoded[width:]
	}
	return dst
}

// decode decodes the first byte of encoded, which must not be empty. width is how many bytes of
// encoded it takes.
func decode(encoded string) (b byte, width int) {
	switch {
	case encoded[0] == '+':
		return ' ', 1
	case encoded[0] == '%' && len(encoded) >= 3:
		if high, low := unhex(encoded[1]), unhex(encoded[2]); high >= 0 && low >= 0 {
			return byte(high<<4 | low), 3
		}
	}
	return encoded[0], 1
}

// unhex returns the value of a hexadecimal digit, or -1 if c is none.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
