package identity

import (
	"encoding/binary"
	"strings"
)

// query returns what stands between the first "?" of a path and its fragment.
func query(path string) string {
	path, _, _ = strings.Cut(path, "#")
	_, query, _ := strings.Cut(path, "?")
	return query
}

// appendParameter appends the decoded value of the first parameter of that
// name. Pairs end at "&" only: ";" is a byte like any other, as it is for
// Envoy and for the URL standard. A pair with a broken escape counts as absent,
// so the next one of that name is taken.
//
// The value is measured before it is decoded, because its length stands in
// front of it; the alternative is a second buffer.
func appendParameter(dst []byte, query, name string) (key []byte, ok bool) {
	for rest, more := query, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		found, value, _ := strings.Cut(pair, "=")
		if pair == "" || !decodesTo(found, name) {
			continue
		}
		size, valid := decodedLen(value)
		if !valid {
			continue
		}
		if size == 0 {
			return dst, false
		}
		return appendDecoded(binary.AppendUvarint(dst, uint64(size)), value), true
	}
	return dst, false
}

// decodesTo reports whether encoded is a spelling of plain.
func decodesTo(encoded, plain string) bool {
	for len(encoded) > 0 {
		b, width := decode(encoded)
		if width == 0 || plain == "" || b != plain[0] {
			return false
		}
		encoded, plain = encoded[width:], plain[1:]
	}
	return plain == ""
}

// decodedLen returns how many bytes encoded stands for; valid is false if one
// of its escapes is broken.
func decodedLen(encoded string) (n int, valid bool) {
	for len(encoded) > 0 {
		_, width := decode(encoded)
		if width == 0 {
			return 0, false
		}
		encoded = encoded[width:]
		n++
	}
	return n, true
}

// appendDecoded appends what a valid encoded stands for.
func appendDecoded(dst []byte, encoded string) []byte {
	for len(encoded) > 0 {
		b, width := decode(encoded)
		if width == 0 {
			break
		}
		dst = append(dst, b)
		encoded = encoded[width:]
	}
	return dst
}

// decode returns the first byte that encoded, which is not empty, stands for
// and how many bytes spell it: 0 if they are a broken escape.
func decode(encoded string) (b byte, width int) {
	switch encoded[0] {
	case '+':
		return ' ', 1
	case '%':
		if len(encoded) < 3 {
			return 0, 0
		}
		high, low := unhex(encoded[1]), unhex(encoded[2])
		if high < 0 || low < 0 {
			return 0, 0
		}
		return byte(high<<4 | low), 3
	}
	return encoded[0], 1
}

// unhex returns the value of a hexadecimal digit, or -1.
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
