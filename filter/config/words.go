package config

import (
	"slices"
	"strings"
)

// What the schema wants of texts: how a fault puts it, and the test.
const (
	wantName        = "[a-z][a-z0-9_]{0,31}"
	wantPath        = `a path that begins with "/", without query and fragment`
	wantMethod      = `a method in upper case, as "GET"`
	wantHeader      = `the name of a header, as "x-client-id"`
	wantMatchHeader = `the name of a header, as "accept"; path and method have fields of their own`
	wantCookie      = `the name of a cookie, as "session"`
	wantClaim       = `the name of a claim, as "sub"`
	wantMetadataKey = `the payload_in_metadata of jwt_authn`
	wantPart        = `a part of the way to a property, as "connection"`
	wantAdminPath   = `"" or a path as "/streamlatch" without query, fragment, "%", spaces and a "/" at the end`
)

func isName(s string) bool {
	if s == "" || len(s) > maxName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return all(s, func(c byte) bool { return isLower(c) || isDigit(c) || c == '_' })
}

func notEmpty(s string) bool { return s != "" }

func isPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.ContainsAny(s, "?#")
}

// isAdminPath reports whether s is empty or a path that requests can have as it
// stands: no other spelling of it is looked for.
func isAdminPath(s string) bool {
	return s == "" || isPath(s) && !strings.HasSuffix(s, "/") &&
		all(s, func(c byte) bool { return c > ' ' && c != '%' && c != 0x7f })
}

// isPart reports whether s can stand in the path of a property, of which claims
// are some. Envoy takes it as one string, with zero bytes between the parts.
func isPart(s string) bool { return s != "" && strings.IndexByte(s, 0) < 0 }

func isMethod(s string) bool {
	return isToken(s) && !strings.ContainsFunc(s, func(r rune) bool { return 'a' <= r && r <= 'z' })
}

func isHeader(s string) bool {
	return isToken(s) || slices.Contains([]string{":authority", ":method", ":path", ":scheme"}, s)
}

func isMatchHeader(s string) bool {
	return isHeader(s) && s != ":path" && s != ":method"
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2, which the
// names of headers, cookies and methods are.
func isToken(s string) bool {
	return s != "" && all(s, func(c byte) bool {
		return isLower(c|0x20) || isDigit(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
	})
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func all(s string, holds func(byte) bool) bool {
	for i := range len(s) {
		if !holds(s[i]) {
			return false
		}
	}
	return true
}
