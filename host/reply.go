package host

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// LocalReply is a response that Envoy makes itself: for proxy_send_local_response, or the 503 for a
// stream whose VM failed. To a gRPC request, whose content-type is application/grpc, Envoy replies
// with HTTP status 200 and without a body: the gRPC status and message are in the headers.
type LocalReply struct {
	Status     int
	Headers    Headers // including those that Envoy adds
	Body       []byte
	Details    string // RESPONSE_CODE_DETAILS in access logs
	GRPCStatus int32  // -1: none, which a reply to a gRPC request never has
}

const (
	failStreamDetails  = "wasm_fail_stream"
	closeStreamDetails = "wasm_close_stream"
)

// newLocalReply makes the reply that Envoy sends for what a guest asked for. It adds a
// content-length, and a content-type if the guest gave none; without a body it removes both. White
// space in details becomes underscores, because it would break access logs.
//
// Envoy: source/common/http/utility.cc, prepareLocalReply.
func (s *Stream) newLocalReply(status int, headers Headers, body []byte, details string, grpcStatus int32) *LocalReply {
	h := append(Headers{{":status", strconv.Itoa(status)}}, headers.normalized()...)
	if grpcStatus < 0 || grpcStatus > maxGRPCStatus {
		grpcStatus = -1
	}
	details = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return '_'
		}
		return r
	}, details)
	if s.isGRPC {
		return newGRPCReply(h, body, details, grpcStatus)
	}
	if len(body) > 0 {
		h.replace("content-length", strconv.Itoa(len(body)))
		if _, custom := h.Get("content-type"); !custom {
			h.add("content-type", "text/plain")
		}
	} else {
		h.remove("content-length")
		h.remove("content-type")
	}
	return &LocalReply{Status: status, Headers: h, Body: body, Details: details, GRPCStatus: grpcStatus}
}

// newGRPCReply makes the reply to a gRPC request, which has no body: the HTTP status is 200, and
// the headers have the gRPC status and, as the message, what would be the body. A grpc-status among
// the guest's headers wins over the one that it gave as a number. Without either it follows from
// the HTTP status.
//
// Envoy: source/common/http/utility.cc, prepareLocalReply; source/common/grpc/status.cc,
// httpToGrpcStatus. Measured on Envoy 1.40.
func newGRPCReply(h Headers, message []byte, details string, grpcStatus int32) *LocalReply {
	if grpcStatus < 0 {
		grpcStatus = grpcStatusOf(h[0].Value)
	}
	h[0].Value = "200"
	h.replace("content-type", "application/grpc")
	if given, _ := h.Get("grpc-status"); given == "" {
		h.replace("grpc-status", strconv.Itoa(int(grpcStatus)))
	} else if n, err := strconv.ParseInt(given, 10, 32); err == nil {
		grpcStatus = int32(n)
	}
	if len(message) > 0 {
		h.replace("grpc-message", percentEncode(message))
	}
	h.remove("content-length")
	return &LocalReply{Status: 200, Headers: h, Details: details, GRPCStatus: grpcStatus}
}

// maxGRPCStatus is the largest gRPC status that Envoy knows. A larger one counts as none.
const maxGRPCStatus = 16

// The gRPC statuses that the host itself uses.
const (
	grpcOk          = 0
	grpcUnknown     = 2
	grpcInternal    = 13
	grpcUnavailable = 14
)

// grpcStatusOf returns the gRPC status that stands for an HTTP status.
//
// Envoy: source/common/grpc/status.cc, httpToGrpcStatus.
func grpcStatusOf(httpStatus string) int32 {
	switch httpStatus {
	case "400":
		return grpcInternal
	case "401":
		return 16 // unauthenticated
	case "403":
		return 7 // permission denied
	case "404":
		return 12 // unimplemented
	case "429", "502", "503", "504":
		return grpcUnavailable
	}
	return grpcUnknown
}

// isGRPC reports whether a message is one of gRPC. A content type with a parameter does not count.
//
// Envoy: source/common/grpc/common.cc, hasGrpcContentType. Measured on Envoy 1.40.
func isGRPC(h Headers) bool {
	contentType, _ := h.Get("content-type")
	return contentType == "application/grpc" || strings.HasPrefix(contentType, "application/grpc+")
}

// percentEncode encodes a gRPC message.
//
// Envoy: source/common/http/utility.cc, PercentEncoding::encode.
func percentEncode(message []byte) string {
	var b strings.Builder
	for _, c := range message {
		if c < ' ' || c >= '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
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
	s.headersArrive(f, len(body) == 0)
	if len(body) > 0 && !s.destroyed {
		s.bodyArrives(f, body, true)
	}
}

// bodyOf returns the body of a reply, or nil for a HEAD request, which gets none.
func (s *Stream) bodyOf(r *LocalReply) []byte {
	if s.isHEAD {
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
	s.sendLocalReply(s.newLocalReply(503, nil, nil, failStreamDetails, grpcUnavailable))
}
