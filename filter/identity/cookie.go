package identity

import "strings"

// ows are the characters of optional white space (OWS) in RFC 9110, section 5.6.3.
const ows = " \t"

// cookie returns the value of the first cookie with this name in a cookie header (RFC 6265, section
// 4.2.1), or "". White space around a pair is removed, and one pair of quotes around the value. A
// pair without "=" has no name and is skipped.
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

// unquote removes one pair of double quotes around value.
func unquote(value string) string {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}
