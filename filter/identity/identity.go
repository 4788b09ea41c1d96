// Package identity reads who a request comes from: it turns a rule's sources
// into one byte key, the same for two requests exactly if every source gave
// the same bytes for both.
//
// It runs for every candidate stream, and what it reads was written by the
// client. So the work is linear in what was sent, nothing is allocated beyond
// the growth of the caller's buffer and what a property is fetched with, values
// are opaque bytes that need be neither text nor UTF-8, and cookies, path and
// metadata are fetched once however many sources read them, a fetch being a
// call into Envoy.
//
// Sources differ in who vouches for the value. Header, Cookie and Query are what
// the client says. JWTClaim, Property and SourceAddress are what Envoy has found
// out, and no header is read in their place: not the token itself, and not
// x-forwarded-for. To guess whose stream it is then ends nobody's; whom Envoy
// believes is for its own configuration to say.
package identity

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// Request is the part of a request that sources read.
type Request interface {
	// Header returns the first value of the header with this lower-case name;
	// ":path", ":method", ":authority" and ":scheme" are headers too. ok is
	// false if the request has no such header.
	Header(name string) (value string, ok bool)
	// Property returns the bytes that Envoy gives for an attribute of the stream.
	// ok is false if there is none.
	Property(path ...string) (value string, ok bool)
}

// Kind says where in a request a source looks.
type Kind int

const (
	// Header is the first value of a header.
	Header Kind = iota + 1
	// Cookie is a cookie of the first cookie header. Envoy joins those that
	// HTTP/2 clients split (reconstituteCrumbledCookies in
	// source/common/http/http2/codec_impl.cc).
	Cookie
	// Query is a parameter of the query in ":path".
	Query
	// JWTClaim is a claim of a token that jwt_authn has verified and, told to by
	// payload_in_metadata, left in dynamic metadata. A string is taken as it is,
	// and a whole number in decimal, so that 42 and "42" are one client: issuers
	// change from one to the other, and users stay who they are. All else names
	// nobody: what is empty or no scalar, booleans, fractions, and whole numbers
	// from 2^53 on, which Envoy holds as doubles and several of which are one.
	JWTClaim
	// Property is an attribute of the stream as Envoy sees it, such as
	// connection.uri_san_peer_certificate. Those that are text are meant. The
	// others are taken as the bytes that proxy-wasm has for them: eight for a
	// number, one for a boolean.
	Property
	// SourceAddress is the client's address as Envoy sees it, without port:
	// what use_remote_address, xff_num_trusted_hops and the extensions of
	// original_ip_detection make of the peer and of x-forwarded-for. Where
	// use_remote_address is not true, Envoy believes the last entry of whoever
	// connects. An IPv4-mapped IPv6 address is that IPv4 address; a zone is kept,
	// for it tells hosts apart. What has no IP address, a Unix socket, names
	// nobody.
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
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// Source is one place to read a part of the key from. The name of a header may
// be in any case; all other names are exact.
type Source struct {
	Kind Kind
	Name string   // of the header, cookie or parameter; of a JWTClaim: metadata_key, under which jwt_authn left the payload
	Path []string // of a JWTClaim: the way to the claim; of a Property: its path
}

// Sources are read together: all their values make the key.
type Sources []Source

// Append appends the key of req to dst: for each source, in order, the length
// of its value as an unsigned varint and then the value. For one list of
// sources the encoding is injective: ("a", "bc") and ("ab", "c") differ.
//
// If a value is missing or empty, or there are no sources, ok is false and key
// holds what dst held. The bytes of key belong to the caller.
func (s Sources) Append(dst []byte, req Request) (key []byte, ok bool) {
	from := reader{req: req}
	key = dst
	for _, source := range s {
		if key, ok = source.append(key, &from); !ok {
			return key[:len(dst)], false
		}
	}
	return key, len(s) > 0
}

func (s Source) append(dst []byte, from *reader) (key []byte, ok bool) {
	switch s.Kind {
	case Header:
		value, _ := from.req.Header(strings.ToLower(s.Name))
		return appendPart(dst, value)
	case Cookie:
		return appendPart(dst, cookie(from.header(&from.cookie, "cookie"), s.Name))
	case Query:
		return appendParameter(dst, query(from.header(&from.path, ":path")), s.Name)
	case JWTClaim:
		return appendClaim(dst, from.metadata(), s.Name, s.Path)
	case Property:
		value, _ := from.req.Property(s.Path...)
		return appendPart(dst, value)
	case SourceAddress:
		value, _ := from.req.Property("source", "address")
		return appendPart(dst, ipAddress(value))
	}
	return dst, false
}

func appendPart(dst []byte, value string) (key []byte, ok bool) {
	if value == "" {
		return dst, false
	}
	return append(binary.AppendUvarint(dst, uint64(len(value))), value...), true
}

// reader reads a request for one call of Append, and what several sources may
// share only once.
type reader struct {
	req                    Request
	path, cookie, property lazy
}

func (r *reader) header(l *lazy, name string) string {
	if !l.read {
		l.value, _ = r.req.Header(name)
		l.read = true
	}
	return l.value
}

// metadata returns the dynamic metadata of the stream, all of it, as a
// serialized envoy.config.core.v3.Metadata.
func (r *reader) metadata() string {
	l := &r.property
	if !l.read {
		l.value, _ = r.req.Property("metadata")
		l.read = true
	}
	return l.value
}

type lazy struct {
	value string
	read  bool
}
