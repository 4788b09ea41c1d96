// Package reply writes what a client gets when its stream is refused or ended.
//
// It depends on who reads the reply. A browser's EventSource never comes back after an error
// status. So if it should come back, it gets an event stream with a reconnection time and one
// event. Other programs get a status code: at the clean end of an event stream some of them connect
// again at once, some stop for good, and some hang.
package reply

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Reader is the kind of client that reads a reply.
type Reader uint8

const (
	// Program is any client that reads status codes.
	Program Reader = iota + 1
	// EventSource is the EventSource of a browser, or a client that honours the reconnection time
	// of an event stream as it does.
	EventSource
	// Caller is a client of MCP that POSTs a JSON-RPC message. An error status ends the whole
	// session of some, so a call is answered by [CallRefusal].
	Caller
)

// Request is the request that is refused.
type Request interface {
	// Header returns the first value of the header with this lower-case name; ":method" is one too.
	Header(name string) (value string, ok bool)
}

// ReaderOf returns who reads the reply to a request.
//
// It tells an EventSource by what the fetch standard makes it send: its cache mode is no-store, so
// cache-control and pragma are no-cache. Its honest imitations send the same, or, those for Node
// that make no use of fetch, no user-agent. Those that hammer or stop at the end of an event stream
// (event-source-plus, fetch-event-source, r3labs/sse, sseclient and others) lack one or the other.
// The clients of MCP honour the reconnection time, too. What each library does is in
// envoy/README.md.
func ReaderOf(r Request) Reader {
	method, _ := r.Header(":method")
	if method == "POST" && isMCP(r) {
		return Caller
	}
	if method != "GET" {
		return Program
	}
	accept, _ := r.Header("accept")
	if !strings.EqualFold(strings.TrimSpace(accept), mediaType) {
		if isMCP(r) && WantsStream("GET", accept) {
			return EventSource
		}
		return Program
	}
	if cache, _ := r.Header("cache-control"); cache == "no-cache" {
		if pragma, _ := r.Header("pragma"); pragma == "no-cache" {
			return EventSource
		}
		if agent, named := r.Header("user-agent"); !named || strings.HasPrefix(agent, "Mozilla/") {
			return EventSource
		}
	}
	if isMCP(r) {
		return EventSource
	}
	return Program
}

// isMCP reports whether a client of MCP sent the request. Its first request, which makes the
// session, may lack the header.
func isMCP(r Request) bool {
	_, ok := r.Header("mcp-protocol-version")
	return ok
}

// WantsStream reports whether a successful response to such a request is sure to be an event
// stream. Then the request can be refused before the backend answers. A POST is not such a request:
// the backend may answer it with an event stream or with JSON.
func WantsStream(method, accept string) bool {
	return method == "GET" && strings.Contains(strings.ToLower(accept), mediaType)
}

// IsEventStream reports whether a browser takes a response with this content-type as an event
// stream. A header that was sent twice is a list, of which the last media type counts (Fetch
// standard, "extract a MIME type").
func IsEventStream(contentType string) bool {
	if !strings.Contains(contentType, ",") { // one value, as nearly always
		return strings.EqualFold(essenceOf(contentType), mediaType)
	}
	found := ""
	for contentType != "" {
		var value string
		value, contentType = cutValue(contentType)
		if essence := essenceOf(value); isMediaType(essence) {
			found = essence
		}
	}
	return strings.EqualFold(found, mediaType)
}

// essenceOf returns a media type without its parameters.
func essenceOf(value string) string {
	essence, _, _ := strings.Cut(value, ";")
	return strings.Trim(essence, " \t\r\n")
}

// cutValue cuts a list of header values after its first value. A comma between quotes is part of
// the value.
func cutValue(list string) (value, rest string) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			return list[:i], list[i+1:]
		}
	}
	return list, ""
}

// isMediaType reports whether essence counts in a list: it has the form type/subtype, and is not
// any type.
func isMediaType(essence string) bool {
	kind, subtype, ok := strings.Cut(essence, "/")
	return ok && isToken(kind) && isToken(subtype) && essence != "*/*"
}

func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

// Marker is the name of a header of refusals that look like event streams. A second Streamlatch
// filter on the way must not track such a response as a stream.
const Marker = "x-streamlatch-refused"

const mediaType = "text/event-stream"

// Response is a complete response.
type Response struct {
	Status  uint32
	Headers [][2]string // name and value
	Body    []byte
}

// Refusal returns the response to a request that is refused because of why. It asks the client to
// come back after retry, which is rounded up to a second for a Program. An EventSource that is a
// policy.Duplicate or policy.TooLong is meant to stop, so it gets a status code too.
//
// lastEventID is the client's place in the stream, or "". Some clients take it from the last
// response only, so an event stream tells it again.
func Refusal(why policy.Refusal, to Reader, retry policy.Millis, lastEventID string) Response {
	if to == EventSource && why != policy.Duplicate && why != policy.TooLong {
		return Response{
			Status: 200,
			Headers: [][2]string{
				{"content-type", mediaType},
				{"cache-control", "no-store"},
				{Marker, why.String()},
			},
			Body: append(id(lastEventID), Goodbye(why.String(), retry)...),
		}
	}
	response := Response{Status: status(why), Headers: jsonHeaders(retry), Body: fmt.Appendf(nil, "{\"reason\":\"%v\"}\n", why)}
	if retry > mostSilence {
		response.Headers = append(response.Headers, [2]string{"x-should-retry", "false"})
	}
	return response
}

// mostSilence is how long a library may wait before it tries again and tells nobody. Those of
// OpenAI and Anthropic wait as long as retry-after says, twice, unless x-should-retry forbids it.
const mostSilence = 5 * policy.Second

func jsonHeaders(retry policy.Millis) [][2]string {
	seconds := (retry + policy.Second - 1) / policy.Second
	return [][2]string{
		{"content-type", "application/json"},
		{"cache-control", "no-store"},
		{"retry-after", fmt.Sprint(int64(seconds))},
	}
}

// longestID is the largest size in bytes of an event id that is told again.
const longestID = 1024

// id returns the line that sets the client's last event id to what it is, if one can be written.
func id(lastEventID string) []byte {
	if lastEventID == "" || len(lastEventID) > longestID || strings.ContainsAny(lastEventID, "\x00\r\n") {
		return nil
	}
	return fmt.Appendf(nil, "id: %s\n", lastEventID)
}

func status(why policy.Refusal) uint32 {
	switch why {
	case policy.Duplicate, policy.Superseded:
		return 409
	case policy.TakeoverLimit:
		return 429
	case policy.TooLong:
		return 431
	}
	return 503
}

// Goodbye returns the last event of a stream. It tells the page the reason, which must need no
// escaping in JSON. It also sets the EventSource's reconnection time to retry, until the page makes
// a new EventSource. An EventSource does not show its reconnection time to the page, so the event's
// data has it too. A retry of 0 leaves the reconnection time as it is.
func Goodbye(reason string, retry policy.Millis) []byte {
	if retry <= 0 {
		return fmt.Appendf(nil, "event: streamlatch\ndata: {\"reason\":\"%s\"}\n\n", reason)
	}
	return fmt.Appendf(nil, "retry: %d\nevent: streamlatch\ndata: {\"reason\":\"%s\",\"retry_ms\":%[1]d}\n\n", int64(retry), reason)
}

// TailSize is how many of a stream's last bytes AtEventEnd needs.
const TailSize = 4

// AtEventEnd reports whether another event may follow a stream that ends in tail: whether tail ends
// in an empty line, which ends an event. Lines end in LF, CR or CRLF.
func AtEventEnd(tail []byte) bool {
	line, ended := cutLineEnd(tail)
	if !ended {
		return false
	}
	_, ended = cutLineEnd(line)
	return ended
}

// cutLineEnd removes one line end from the end of text. ended is false if there is none.
func cutLineEnd(text []byte) (line []byte, ended bool) {
	for _, end := range []string{"\r\n", "\n", "\r"} {
		if line, ended = bytes.CutSuffix(text, []byte(end)); ended {
			return line, true
		}
	}
	return text, false
}
