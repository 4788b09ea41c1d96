package host

import (
	"strconv"
	"strings"
	"unicode"
)

// LocalReply is a response that Envoy makes itself: for proxy_send_local_response, or the 503 for a
// stream whose VM failed.
type LocalReply struct {
	Status     int
	Headers    Headers // including those that Envoy adds
	Body       []byte
	Details    string // RESPONSE_CODE_DETAILS in access logs
	GRPCStatus int32  // -1: none
}

const (
	failStreamDetails  = "wasm_fail_stream"
	closeStreamDetails = "wasm_close_stream"
)

// newLocalReply adds a content-length, and a content-type if the filter gave none, as Envoy does.
// White space in details becomes underscores, because it would break access logs. Envoy also turns
// replies to gRPC requests into trailers; this host does not.
//
// Envoy: source/common/http/utility.cc, prepareLocalReply.
func newLocalReply(status int, headers Headers, body []byte, details string, grpcStatus int32) *LocalReply {
	h := append(Headers{{":status", strconv.Itoa(status)}}, headers.normalized()...)
	if len(body) > 0 {
		h.replace("content-length", strconv.Itoa(len(body)))
		if _, custom := h.Get("content-type"); !custom {
			h.add("content-type", "text/plain")
		}
	}
	details = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return '_'
		}
		return r
	}, details)
	return &LocalReply{Status: status, Headers: h, Body: body, Details: details, GRPCStatus: grpcStatus}
}

// sendLocalReply sends a reply in place of the upstream's response. What happens depends on how far
// the response has come:
//
//	no headers arrived          the reply goes through the filter like a response
//	headers arrived, not sent   the reply replaces them, and the filter does not see it
//	headers sent                it is too late for a reply, and the stream is reset
//
// Envoy: source/common/http/filter_manager.cc, sendLocalReply.
func (s *Stream) sendLocalReply(r *LocalReply) {
	switch {
	case s.response.headersSent:
		s.finish(Reset)
	case s.destroyed && s.response.started:
		// The context was shown a reply after on_delete, and replies to it: see replyThroughFilter.
	case s.response.started:
		s.reply, s.details = r, r.Details
		s.response.out = Message{Headers: r.Headers, Body: s.bodyOf(r)}
		s.complete(&s.response)
	case s.decoding:
		if s.prepared == nil {
			s.prepared = r
		}
	default:
		s.replyThroughFilter(r)
	}
}

// sendPreparedReply sends the reply that a request callback asked for, after that callback has
// returned.
//
// Envoy: source/common/http/filter_manager.cc, prepareLocalReplyViaFilterChain and
// executeLocalReplyIfPrepared.
func (s *Stream) sendPreparedReply() {
	if r := s.prepared; r != nil {
		s.prepared = nil
		s.replyThroughFilter(r)
	}
}

// replyThroughFilter sends a reply as if it were the upstream's response. If the same callback also
// reset the stream, Envoy still calls on_response_headers with the reply's headers, after
// on_delete, with the id of the deleted context. Filters that use the SDK panic then. Measured on
// Envoy 1.40.
func (s *Stream) replyThroughFilter(r *LocalReply) {
	f := &s.response
	f.headers = r.Headers.normalized()
	body := s.bodyOf(r)
	if s.destroyed {
		f.started = true
		f.visibleHeaders = &f.headers
		s.vm.callback(s.context, f.callbacks.headers, uint64(s.context.id), uint64(len(f.headers)), boolUint64(len(body) == 0))
		return
	}
	s.reply, s.details = r, r.Details
	s.request.hide()
	s.headersArrive(f, len(body) == 0)
	if len(body) > 0 && !s.destroyed {
		s.bodyArrives(f, body, true)
	}
}

// bodyOf returns the body of a reply, or nil for a HEAD request, which gets none.
func (s *Stream) bodyOf(r *LocalReply) []byte {
	if method, _ := s.request.headers.Get(":method"); method == "HEAD" {
		return nil
	}
	return r.Body
}

// failStream sends the 503 for a VM that failed. Unlike a reply of the guest, it is sent at once.
//
// Envoy: source/extensions/common/wasm/context.cc, failStream.
func (s *Stream) failStream() {
	if s.failureReplySent {
		return
	}
	s.failureReplySent = true
	const unavailable = 14
	s.sendLocalReply(newLocalReply(503, nil, nil, failStreamDetails, unavailable))
}
