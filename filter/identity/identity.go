// Package identity reads who a request comes from: it turns a rule's sources
// into one byte key, the same for two requests exactly if every source gave
// the same bytes for both.
//
// It runs for every candidate stream, and what it reads was written by the
// client. So the work is linear in what was sent, nothing is allocated beyond
// the growth of the caller's buffer, values are opaque bytes that need be
// neither text nor UTF-8, and cookies and path are fetched once however many
// sources read them, a fetch being a call into Envoy.
package identity

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Request is the part of a request that sources read.
type Request interface {
	// Header returns the first value of the header with this lower-case name;
	// ":path", ":method", ":authority" and ":scheme" are headers too. ok is
	// false if the request has no such header.
	Header(name string) (value string, ok bool)
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
)

func (k Kind) String() string {
	switch k {
	case Header:
		return "header"
	case Cookie:
		return "cookie"
	case Query:
		return "query"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Source is one place to read a part of the key from. The name of a header may
// be in any case; those of cookies and query parameters are exact.
type Source struct {
	Kind Kind
	Name string
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
	from := headers{req: req}
	key = dst
	for _, source := range s {
		if key, ok = source.append(key, &from); !ok {
			return key[:len(dst)], false
		}
	}
	return key, len(s) > 0
}

func (s Source) append(dst []byte, from *headers) (key []byte, ok bool) {
	switch s.Kind {
	case Header:
		value, _ := from.req.Header(strings.ToLower(s.Name))
		return appendPart(dst, value)
	case Cookie:
		return appendPart(dst, cookie(from.cookie.get(from.req, "cookie"), s.Name))
	case Query:
		return appendParameter(dst, query(from.path.get(from.req, ":path")), s.Name)
	}
	return dst, false
}

func appendPart(dst []byte, value string) (key []byte, ok bool) {
	if value == "" {
		return dst, false
	}
	return append(binary.AppendUvarint(dst, uint64(len(value))), value...), true
}

// headers keeps what several sources may share, for one call of Append.
type headers struct {
	req          Request
	path, cookie lazy
}

type lazy struct {
	value string
	read  bool
}

func (l *lazy) get(req Request, name string) string {
	if !l.read {
		l.value, _ = req.Header(name)
		l.read = true
	}
	return l.value
}
