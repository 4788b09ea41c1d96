package host

func streamFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_send_local_response", signature: "iiiiiiii->i", run: proxySendLocalResponse},
		{name: "proxy_continue_stream", signature: "i->i", run: proxyContinueStream},
		{name: "proxy_close_stream", signature: "i->i", run: proxyCloseStream},
	}
}

// The ABI's stream types.
const (
	streamRequest    = 0
	streamResponse   = 1
	streamDownstream = 2 // TCP, as is the next
	streamUpstream   = 3
)

// proxySendLocalResponse is proxy_send_local_response. The reply is sent when the
// callback has returned, whose own result is ignored: see Stream.sendLocalReply.
// Without a stream, as in on_tick, nothing is sent and the status is Ok.
//
// Parameters: status code, details pointer and size, body pointer and size,
// headers pointer and size (serialised; what does not decode is no headers), gRPC
// status, -1 for none.
//
//   - InvalidMemoryAccess: an argument is out of bounds
//
// cpp-host: src/exports.cc; Envoy: context.cc, sendLocalResponse.
func proxySendLocalResponse(v *vm, a args) uint32 {
	details, okDetails := v.text(a.u32(1), a.u32(2))
	body, okBody := v.data(a.u32(3), a.u32(4))
	pairs, okPairs := v.view(a.u32(5), a.u32(6))
	if !okDetails || !okBody || !okPairs {
		return uint32(StatusInvalidMemoryAccess)
	}
	if s := v.context().stream; s != nil {
		reply := newLocalReply(int(a.u32(0)), decodePairs(pairs), body, details, int32(a.u32(7)))
		v.after = append(v.after, func() { s.sendLocalReply(reply) })
	}
	v.stopIteration = true
	return uint32(StatusOk)
}

// proxyContinueStream is proxy_continue_stream: what was held goes on when the
// callback has returned. The request's maps and body are out of reach at once,
// also when it is the response that is continued.
//
// Parameters: stream type, 0 request, 1 response, 2 downstream, 3 upstream.
//
//   - BadArgument: the type is above 3
//   - Unimplemented: upstream
//
// cpp-host: src/exports.cc; Envoy: context.cc, continueStream.
func proxyContinueStream(v *vm, a args) uint32 {
	switch kind := a.u32(0); kind {
	case streamRequest, streamResponse:
		if s := v.context().stream; s != nil {
			f := &s.request
			if kind == streamResponse {
				f = &s.response
			}
			v.after = append(v.after, func() { s.resume(f) })
			s.request.shut()
		}
		return uint32(StatusOk)
	case streamDownstream:
		return uint32(StatusOk)
	case streamUpstream:
		return uint32(StatusUnimplemented)
	default:
		return uint32(StatusBadArgument)
	}
}

// proxyCloseStream is proxy_close_stream: the stream is reset when the callback
// has returned. Request and response are the same. It is Ok if there is nothing
// to reset.
//
// Parameters: stream type, 0 request, 1 response, 2 downstream, 3 upstream.
//
//   - BadArgument: the type is above 3
//
// cpp-host: src/exports.cc; Envoy: context.cc, closeStream.
func proxyCloseStream(v *vm, a args) uint32 {
	kind := a.u32(0)
	if kind > streamUpstream {
		return uint32(StatusBadArgument)
	}
	if s := v.context().stream; s != nil && (kind == streamRequest || kind == streamResponse) {
		if s.details == "" {
			s.details = closeStreamDetails
		}
		v.after = append(v.after, func() { s.finish(Reset) })
	}
	return uint32(StatusOk)
}
