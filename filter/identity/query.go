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

// readParameters finds for each source of kind Query the value of the first parameter with its
// name. Only "&" ends a parameter; ";" is an ordinary character, as it is for Envoy and in the URL
// standard. The values are not decoded. It looks at each byte once, as readCookies does.
func (s Sources) readParameters(query string, values *[MaxSources]string) {
	wanted := s.wanted(Query)
	for at := 0; at < len(query) && wanted.left > 0; at++ {
		start, equals, name := at, -1, noName
		for at < len(query) && query[at] != '&' {
			b, width := query[at], 1
			switch {
			case equals >= 0:
			case b == '=':
				equals = at
			default:
				if b == '%' || b == '+' {
					b, width = decode(query[at:])
				}
				name = name.with(b)
			}
			at += width
		}
		if at == start {
			continue
		}
		if equals < 0 { // a name without a value
			equals = at
		}
		for i := range s {
			if wanted.hashes[i] == name && decodesTo(query[start:equals], s[i].Name) {
				values[i] = query[min(equals+1, at):at]
				wanted.found(i)
			}
		}
	}
}

// appendParameter appends the decoded value of a parameter. A "%" that no two hexadecimal digits
// follow stands for itself, as in the URL standard.
//
// The length comes before the value in the key. So the value is measured first and decoded second,
// which needs no second buffer.
func appendParameter(dst []byte, value string) (key []byte, ok bool) {
	if value == "" {
		return dst, false
	}
	return appendDecoded(binary.AppendUvarint(dst, uint64(decodedLen(value))), value), true
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
