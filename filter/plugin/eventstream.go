package plugin

import (
	"strings"

	"github.com/streamlatch/streamlatch/filter/reply"
)

// headers is what is asked of a response to tell whether it is an event stream.
type headers interface {
	Header(name string) (value string, ok bool)
}

// isEventStream reports whether a response with these headers is a stream that a client can hold: a 200 whose media
// type is text/event-stream, with a body to come.
func isEventStream(h headers, endOfStream bool) bool {
	if endOfStream { // an answer to HEAD
		return false
	}
	if status, _ := h.Header(":status"); status != "200" {
		return false
	}
	if _, refusal := h.Header(reply.Marker); refusal { // of another such filter, behind this one
		return false
	}
	contentType, _ := h.Header("content-type")
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream")
}
