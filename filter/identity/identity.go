// Package identity reads from a request who its client is. It turns the values of a rule's sources
// into one key of bytes. Two requests have the same key exactly if every source has the same value
// for both.
//
// The package runs for every request that matches a rule, and it reads what the client wrote. So:
//   - The work is linear in the size of the request.
//   - Nothing is allocated, except by the growth of the caller's buffer and by Request itself.
//   - Values are bytes. They need not be text or valid UTF-8.
//   - Cookies, path and metadata are fetched at most once per key, because every fetch is a call
//     into Envoy.
//
// Sources differ in who vouches for the value. Header, Cookie and Query can be forged by the
// client. JWTClaim, Property and SourceAddress come from Envoy: no header is read for them, neither
// the token itself nor x-forwarded-for. Anyone who can forge a key can evict its client. What Envoy
// trusts is decided by Envoy's own configuration.
package identity

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Request is what sources read of a request.
type Request interface {
	// Header returns the first value of the header with this name, which is in lower case. ":path",
	// ":method", ":authority" and ":scheme" are headers too. If the request has no such header, ok
	// is false.
	Header(name string) (value string, ok bool)
	// Property returns the attribute of the stream at path, in the bytes of get_property. If there
	// is no such attribute, ok is false.
	Property(path ...string) (value string, ok bool)
}

// Kind says where in a request a source looks.
type Kind int

const (
	// Header is the first value of a header.
	Header Kind = iota + 1
	// Cookie is a cookie of the first cookie header. HTTP/2 clients may split the header; Envoy
	// joins it again (reconstituteCrumbledCookies in source/common/http/http2/codec_impl.cc).
	Cookie
	// Query is a parameter of the query in ":path".
	Query
	// JWTClaim is a claim of a token that jwt_authn has verified. jwt_authn must be configured to
	// leave the payload in dynamic metadata (payload_in_metadata).
	//
	// A string is used as it is, and a whole number in decimal. So 42 and "42" are the same client:
	// users stay the same if their issuer changes from one to the other. All other claims are
	// treated as missing: empty strings, lists, objects, null, booleans, fractions, and whole
	// numbers whose absolute value is 2^53 or more. Envoy holds numbers as doubles, and several of
	// those large numbers become the same double.
	JWTClaim
	// Property is an attribute of the stream in Envoy, such as connection.uri_san_peer_certificate.
	// It is meant for attributes that are text. Others are used as the bytes that get_property
	// returns: eight for a number, one for a boolean.
	Property
	// SourceAddress is the client's IP address as Envoy sees it, without port. Envoy finds it from
	// the peer's address and x-forwarded-for, by use_remote_address, xff_num_trusted_hops and the
	// original_ip_detection extensions. If use_remote_address is not true, Envoy trusts the last
	// entry of x-forwarded-for, whoever sends it.
	//
	// An IPv4-mapped IPv6 address counts as its IPv4 address. A zone is kept, because it
	// distinguishes hosts. A client without an IP address, such as one on a Unix socket, has no
	// value.
	SourceAddress
)

func (k Kind) String() string {
	switch k {
	case Header:
		return "header"
	case Cookie:
		return "cookie"
	case Query:
		return "query"
	case JWTClaim:
		return "jwt_claim"
	case Property:
		return "property"
	case SourceAddress:
		return "source_address"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Source is one place to read a part of the key from.
type Source struct {
	Kind Kind
	// Name is the name of the Header (in any case), Cookie or Query parameter. For a JWTClaim it is
	// the metadata key under which jwt_authn left the payload.
	Name string
	// Path is the path of the Property, or of the JWTClaim in the payload. Other kinds do not use
	// it.
	Path []string
}

// MaxSources is how many sources can make one key.
const MaxSources = 8

// Sources make one key together: 1 to MaxSources of them.
type Sources []Source

// Append appends the key of req to dst. For each source, in order, it appends the length of the
// value as an unsigned varint, and then the value. So ("a", "bc") and ("ab", "c") have different
// keys.
//
// If a value is missing or empty, missing is the index of the first such source and key equals dst.
// Otherwise missing is Complete. If there are no sources or too many, missing is 0. key may share
// its array with dst, as with the built-in append.
func (s Sources) Append(dst []byte, req Request) (key []byte, missing int) {
	if len(s) == 0 || len(s) > MaxSources {
		return dst, 0
	}
	from := reader{req: req, sources: s}
	key = dst
	for i := range s {
		var ok bool
		if key, ok = from.append(key, i); !ok {
			return key[:len(dst)], i
		}
	}
	return key, Complete
}

// Complete is what Append returns in place of a missing source if there is none.
const Complete = -1

// append appends the value of source i.
func (r *reader) append(dst []byte, i int) (key []byte, ok bool) {
	switch s := &r.sources[i]; s.Kind {
	case Header:
		value, _ := r.req.Header(strings.ToLower(s.Name))
		return appendPart(dst, value)
	case Cookie:
		return appendPart(dst, r.cookie(i))
	case Query:
		return appendParameter(dst, r.parameter(i))
	case JWTClaim:
		return appendClaim(dst, r.metadata(), s.Name, s.Path)
	case Property:
		value, _ := r.req.Property(s.Path...)
		return appendPart(dst, value)
	case SourceAddress:
		value, _ := r.req.Property("source", "address")
		return appendPart(dst, ipAddress(value))
	}
	return dst, false
}

// appendPart appends one value of the key. ok is false if the value is empty.
func appendPart(dst []byte, value string) (key []byte, ok bool) {
	if value == "" {
		return dst, false
	}
	return append(binary.AppendUvarint(dst, uint64(len(value))), value...), true
}

// reader reads a request during one call of Append. What several sources may need is read once.
// That matters for cookies and parameters: a client can send tens of thousands of them.
type reader struct {
	req      Request
	sources  Sources
	values   [MaxSources]string // of sources of kind Cookie and Query
	read     [JWTClaim + 1]bool // whether that was done for a kind
	property string             // all dynamic metadata
}

// first reports whether it is called for the first time for a kind.
func (r *reader) first(kind Kind) bool {
	first := !r.read[kind]
	r.read[kind] = true
	return first
}

func (r *reader) cookie(i int) string {
	if r.first(Cookie) {
		header, _ := r.req.Header("cookie")
		r.sources.readCookies(header, &r.values)
	}
	return r.values[i]
}

// parameter returns a value that is not decoded yet.
func (r *reader) parameter(i int) string {
	if r.first(Query) {
		path, _ := r.req.Header(":path")
		r.sources.readParameters(query(path), &r.values)
	}
	return r.values[i]
}

// metadata returns all dynamic metadata of the stream, a serialized envoy.config.core.v3.Metadata.
func (r *reader) metadata() string {
	if r.first(JWTClaim) {
		r.property, _ = r.req.Property("metadata")
	}
	return r.property
}
