// Package admin is the language of the admin path: what an operator, or a backend at a logout, may ask, and the status
// in answer.
//
//	GET    <path>                                          the status, as JSON
//	DELETE <path>/streams/<rule>/<key part>[/<key part>…]  ends the streams of one client
//
// A key part is the value of one source of the rule's client, percent-encoded: "a/b" is a%2Fb.
package admin

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Request is what is asked.
type Request struct {
	Dismiss bool     // end streams; else tell the status
	Rule    string   // whose streams
	Parts   []string // of the client's key, in the order of the rule's sources; at least one, none empty
}

// Fault is an answer to a request that asks for nothing there is.
type Fault struct {
	Status  uint32
	Allow   string // with 405, the method that there is
	Message string
}

// Covers reports whether a request's path is the admin path or below it.
func Covers(adminPath, path string) bool {
	path = withoutQuery(path)
	rest, below := strings.CutPrefix(path, adminPath)
	return below && (rest == "" || rest[0] == '/')
}

// Parse reads a request whose path the admin path covers.
func Parse(adminPath, method, path string) (Request, *Fault) {
	path = strings.TrimPrefix(withoutQuery(path), adminPath)
	if path == "" || path == "/" {
		if method != "GET" {
			return Request{}, &Fault{405, "GET", "the status is read with GET"}
		}
		return Request{}, nil
	}
	streams, below := strings.CutPrefix(path, "/streams/")
	if !below {
		return Request{}, &Fault{404, "", "there is the status, and streams/<rule>/<key part>"}
	}
	if method != "DELETE" {
		return Request{}, &Fault{405, "DELETE", "streams are ended with DELETE"}
	}
	rule, key, _ := strings.Cut(streams, "/")
	r := Request{Dismiss: true, Rule: rule}
	for i, part := range strings.Split(key, "/") {
		decoded, ok := unescape(part)
		if !ok || decoded == "" {
			return Request{}, &Fault{400, "", "key part " + strconv.Itoa(i+1) + " is empty or not percent-encoded"}
		}
		r.Parts = append(r.Parts, decoded)
	}
	return r, nil
}

// unescape decodes percent-encoding; net/url's would bring 60 KiB into the module.
func unescape(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	before, rest, _ := strings.Cut(s, "%")
	decoded := []byte(before)
	for more := true; more; {
		if len(rest) < 2 {
			return "", false
		}
		b, err := strconv.ParseUint(rest[:2], 16, 8) // takes neither sign nor underscore
		if err != nil {
			return "", false
		}
		decoded = append(decoded, byte(b))
		before, rest, more = strings.Cut(rest[2:], "%")
		decoded = append(decoded, before...)
	}
	return string(decoded), true
}

func withoutQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

// AppendJSON appends the answer that tells of the fault.
func (f *Fault) AppendJSON(dst []byte) []byte {
	return append(appendText(append(dst, `{"error":`...), f.Message), "}\n"...)
}

// Status is what the admin path tells of the filter.
type Status struct {
	Version string
	Config  string // the effective configuration of the listener that is asked, as JSON
	Rules   []Rule
	Workers []Worker
	Now     int64 // Unix milliseconds
}

// Rule is a rule of any configuration in this Envoy.
type Rule struct {
	Name   string
	Active uint64 // streams in the registry
}

// Worker is a worker of the registry.
type Worker struct {
	Slot    uint16
	Streams uint32
	BeatAt  int64 // Unix milliseconds of its last heartbeat
}

// AppendJSON appends the status as JSON, with a line's end.
func (s *Status) AppendJSON(dst []byte) []byte {
	dst = appendText(append(dst, `{"version":`...), s.Version)
	var total uint64
	dst = append(dst, `,"rules":[`...)
	for i, r := range s.Rules {
		dst = appendComma(dst, i)
		dst = appendText(append(dst, `{"name":`...), r.Name)
		dst = strconv.AppendUint(append(dst, `,"active":`...), r.Active, 10)
		dst = append(dst, '}')
		total += r.Active
	}
	dst = append(dst, `],"workers":[`...)
	for i, w := range s.Workers {
		dst = appendComma(dst, i)
		dst = strconv.AppendUint(append(dst, `{"slot":`...), uint64(w.Slot), 10)
		dst = strconv.AppendUint(append(dst, `,"streams":`...), uint64(w.Streams), 10)
		dst = strconv.AppendInt(append(dst, `,"heartbeat_age_ms":`...), max(0, s.Now-w.BeatAt), 10)
		dst = append(dst, '}')
	}
	dst = strconv.AppendUint(append(dst, `],"totals":{"active":`...), total, 10)
	dst = strconv.AppendInt(append(dst, `,"workers":`...), int64(len(s.Workers)), 10)
	dst = append(append(dst, `},"config":`...), s.Config...)
	return append(dst, "}\n"...)
}

// appendText appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendText(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text) // fails for invalid UTF-8 only, and writes U+FFFD for it
	return dst
}

func appendComma(dst []byte, i int) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	return dst
}
