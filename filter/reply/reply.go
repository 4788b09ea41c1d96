// Package reply writes what a client is told when it may not have a stream, or not have it any longer.
//
// Who is told what depends on who it is. An EventSource stops for good when its request is answered with an error, so
// whenever it should come back it gets an event stream that consists of its waiting time and one event. Programs that
// read status codes get one.
package reply

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Reader is who reads a reply.
type Reader int

const (
	// Program reads status codes.
	Program Reader = iota + 1
	// EventSource is the interface of that name in browsers, and what behaves like it.
	EventSource
)

// ReaderOf tells them apart: an EventSource sends GET and accepts event streams and nothing else.
func ReaderOf(method, accept string) Reader {
	if method == "GET" && strings.EqualFold(strings.TrimSpace(accept), mediaType) {
		return EventSource
	}
	return Program
}

// WantsStream reports whether a response with status 200 to such a request must be an event stream: then the request
// can be refused before the backend has answered. A POST may get one, or JSON.
func WantsStream(method, accept string) bool {
	return method == "GET" && strings.Contains(strings.ToLower(accept), mediaType)
}

// Marker is a header of a refusal that looks like an event stream: another filter on the way must not take it for one.
const Marker = "x-streamlatch-refused"

const mediaType = "text/event-stream"

// Response is a complete response.
type Response struct {
	Status  uint32
	Headers [][2]string
	Body    []byte
}

// Refusal is the response to a request that may not become a stream. The client is asked to wait for retry, if it
// should come back at all: an EventSource that is refused as a duplicate is meant to stop.
func Refusal(why policy.Refusal, to Reader, retry policy.Millis) Response {
	if to == EventSource && why != policy.Duplicate {
		return Response{
			Status:  200,
			Headers: [][2]string{{"content-type", mediaType}, {"cache-control", "no-store"}, {Marker, why.String()}},
			Body:    Goodbye(why.String(), retry),
		}
	}
	seconds := (retry + policy.Second - 1) / policy.Second
	return Response{
		Status: status(why),
		Headers: [][2]string{
			{"content-type", "application/json"},
			{"cache-control", "no-store"},
			{"retry-after", strconv.FormatInt(int64(seconds), 10)},
		},
		Body: []byte(`{"reason":"` + why.String() + `"}` + "\n"),
	}
}

func status(why policy.Refusal) uint32 {
	switch why {
	case policy.Duplicate, policy.Superseded:
		return 409
	case policy.TakeoverLimit:
		return 429
	}
	return 503
}

// Goodbye is the last event of a stream: it tells a page why, and an EventSource to wait for retry before it comes
// back. That sticks for the life of the EventSource. With a retry of 0 it keeps the waiting time it has.
func Goodbye(reason string, retry policy.Millis) []byte {
	var text []byte
	if retry > 0 {
		text = append(text, "retry: "...)
		text = strconv.AppendInt(text, int64(retry), 10)
		text = append(text, '\n')
	}
	text = append(text, "event: streamlatch\ndata: {\"reason\":\""...)
	text = append(text, reason...)
	return append(text, "\"}\n\n"...)
}

// TailSize is how many of a stream's last bytes AtEventEnd has to see.
const TailSize = 4

// AtEventEnd reports whether a stream that ends in tail is between two events, where another can be put. Lines end in
// LF, CR or CRLF, and events in an empty line.
func AtEventEnd(tail []byte) bool {
	line, ended := withoutLineEnd(tail)
	if !ended {
		return false
	}
	_, ended = withoutLineEnd(line)
	return ended
}

func withoutLineEnd(text []byte) (line []byte, ended bool) {
	for _, end := range []string{"\r\n", "\n", "\r"} {
		if line, ended = bytes.CutSuffix(text, []byte(end)); ended {
			return line, true
		}
	}
	return text, false
}
