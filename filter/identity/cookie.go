package identity

import "strings"

// ows are the characters of optional white space (OWS) in RFC 9110, section 5.6.3.
const ows = " \t"

// readCookies finds for each source of kind Cookie the value of the first cookie with its name in a
// cookie header (RFC 6265, section 4.2.1). White space around a pair is removed, and one pair of
// quotes around the value. A pair without "=" has no name and is skipped.
//
// It looks at each byte once. A name is compared with those of the sources only if its hash is the
// same: a client can send 15,000 cookies.
func (s Sources) readCookies(header string, values *[MaxSources]string) {
	wanted := s.wanted(Cookie)
	for at := 0; at < len(header) && wanted.left > 0; at++ {
		start, equals, name := at, -1, noName
		for ; at < len(header) && header[at] != ';'; at++ {
			switch c := header[at]; {
			case equals >= 0:
			case c == '=':
				equals = at
			case start == at && (c == ' ' || c == '\t'):
				start++
			default:
				name = name.with(c)
			}
		}
		if equals < 0 {
			continue
		}
		for i := range s {
			if wanted.hashes[i] == name && header[start:equals] == s[i].Name {
				values[i] = unquote(strings.TrimRight(header[equals+1:at], ows))
				wanted.found(i)
			}
		}
	}
}

// unquote removes one pair of double quotes around value.
func unquote(value string) string {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}
