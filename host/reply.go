package host

import (
	"strconv"
	"strings"
	"unicode"
)

// LocalReply is a response that Envoy made itself: for proxy_send_local_response,
// or the 503 of a stream whose VM failed.
type LocalReply struct {
	Status     int
	Headers    Headers // with those that Envoy adds
	Body       []byte
	Details    string // RESPONSE_CODE_DETAILS
	GRPCStatus int32  // -1: none
}

const (
	failStreamDetails  = "wasm_fail_stream"
	closeStreamDetails = "wasm_close_stream"
)

// newLocalReply adds what Envoy adds: a content-length, and a content-type unless
// the filter gave one. White space in details would break access logs and becomes
// underscores. (Replies to gRPC requests, which Envoy turns into trailers, are
// not modelled.)
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

// sendLocalReply replies in place of the upstream, and ends the stream. What is
// left to do depends on how far the response is:
//
//	nothing of it yet            the reply goes through the filter, like a response
//	headers seen, not passed     the reply replaces them, and the filter is not asked
//	headers passed               too late for a reply: the stream is reset
//
// Envoy: source/common/http/filter_manager.cc, sendLocalReply.
func (s *Stream) sendLocalReply(r *LocalReply) {
	switch {
	case s.response.passed:
		s.finish(Reset)
	case s.destroyed && s.response.started:
		// A reply to the reply that a dead context was shown: nobody is left.
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

// sendPreparedReply sends what was asked for in a callback of the request, when
// that has returned.
//
// Envoy: source/common/http/filter_manager.cc, prepareLocalReplyViaFilterChain and
// executeLocalReplyIfPrepared.
func (s *Stream) sendPreparedReply() {
	if r := s.prepared; r != nil {
		s.prepared = nil
		s.replyThroughFilter(r)
	}
}

// replyThroughFilter sends a reply the way a response goes. If the stream was
// reset in the same callback Envoy still shows the filter the headers of the
// reply, after on_delete, with an id that is gone: filters that use the SDK panic.
// (Measured on 1.40.)
func (s *Stream) replyThroughFilter(r *LocalReply) {
	f := &s.response
	f.headers = r.Headers.normalized()
	body := s.bodyOf(r)
	if s.destroyed {
		f.started = true
		f.openHeaders = &f.headers
		s.vm.callback(s.context, f.direction.headers, uint64(s.context.id), uint64(len(f.headers)), flag(len(body) == 0))
		return
	}
	s.reply, s.details = r, r.Details
	s.request.shut()
	s.headersArrive(f, len(body) == 0)
	if len(body) > 0 && !s.destroyed {
		s.bodyArrives(f, body, true)
	}
}

// bodyOf is the body of a reply, as far as it is sent: not for a HEAD request.
func (s *Stream) bodyOf(r *LocalReply) []byte {
	if method, _ := s.request.headers.Get(":method"); method == "HEAD" {
		return nil
	}
	return r.Body
}

// failStream answers 503 for a VM that failed. Unlike the guest's own local
// replies this is not deferred, and the filter is not asked about it.
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
