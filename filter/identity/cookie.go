package identity

import "strings"

// ows is the optional white space of RFC 9110.
const ows = " \t"

// cookie returns the value of the first cookie of that name in a cookie header
// (RFC 6265, section 4.2.1), or "". Only the white space around a pair is
// dropped, and one pair of quotes around the value; a pair without "=" has no
// name and is passed over.
func cookie(header, name string) string {
	for rest, more := header, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, ";")
		found, value, named := strings.Cut(strings.Trim(pair, ows), "=")
		if named && found == name {
			return unquote(value)
		}
	}
	return ""
}

func unquote(value string) string {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}
