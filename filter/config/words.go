package config

import (
	"slices"
	"strings"
)

// These texts describe what a field wants, in faults. The functions below test it.
const (
	wantName        = "[a-z][a-z0-9_]{0,31}"
	wantPath        = `a path that begins with "/" and has no query and no fragment`
	wantMethod      = `a method in upper case, such as "GET"`
	wantHeader      = `the name of a header, such as "x-client-id"`
	wantMatchHeader = `the name of a header, such as "accept"; for the path and the method use "path" and "methods"`
	wantCookie      = `the name of a cookie, such as "session"`
	wantClaim       = `the name of a claim, such as "sub"`
	wantMetadataKey = `the payload_in_metadata of jwt_authn`
	wantPart        = `a part of a property's path, such as "connection"`
	wantSecret      = "32 hex digits"
	wantPrefix      = `1 to 64 letters, digits, "-", "_", "." and "/", and no "/" at the beginning and at the end`
	wantAdminPath   = `"" or a path such as "/streamlatch", without query, fragment, "%", spaces and a "/" at the end`
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

// isAdminPath reports whether s is empty or a path that a request can have literally. The path of a
// request is compared as it is, without decoding or normalization.
func isAdminPath(s string) bool {
	return s == "" || isPath(s) && !strings.HasSuffix(s, "/") &&
		all(s, func(c byte) bool { return c > ' ' && c != '%' && c != 0x7f })
}

func isPrefix(s string) bool {
	return s != "" && len(s) <= maxPrefix && !strings.HasPrefix(s, "/") && !strings.HasSuffix(s, "/") &&
		all(s, func(c byte) bool { return isLower(c|0x20) || isDigit(c) || strings.IndexByte("-_./", c) >= 0 })
}

// isPart reports whether s can be a part of the path of a property or a claim. Envoy takes the path
// of a property as one string, in which zero bytes separate the parts.
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

// isToken reports whether s is a token (RFC 9110, section 5.6.2). The names of headers, cookies and
// methods are tokens.
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
