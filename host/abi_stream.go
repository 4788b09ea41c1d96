package host

// streamFunctions differ between the versions: proxy_continue_stream of ABI 0.2 has taken the place
// of two functions of ABI 0.1.0. A guest of 0.1.0 cannot reset a stream, and one of 0.2 clears the
// route cache with a foreign function.
//
// cpp-host: src/wasm.cc, registerCallbacks.
func streamFunctions(version abiVersion) []hostFunc {
	functions := []hostFunc{
		{name: "proxy_send_local_response", params: "status:u32 details:bytes body:bytes headers:map grpc_status:i32", run: proxySendLocalResponse},
	}
	if version == abi010 {
		return append(functions,
			hostFunc{name: "proxy_continue_request", params: "", run: proxyContinueRequest},
			hostFunc{name: "proxy_continue_response", params: "", run: proxyContinueResponse},
			hostFunc{name: "proxy_clear_route_cache", params: "", run: proxyClearRouteCache})
	}
	return append(functions,
		hostFunc{name: "proxy_continue_stream", params: "stream:stream", run: proxyContinueStream},
		hostFunc{name: "proxy_close_stream", params: "stream:stream", run: proxyCloseStream})
}

// The ABI's stream types.
const (
	streamRequest    = 0
	streamResponse   = 1
	streamDownstream = 2 // TCP
	streamUpstream   = 3 // TCP
)

// proxySendLocalResponse is proxy_send_local_response. The reply is sent after the callback has
// returned, and the result of that callback is ignored: see Stream.sendLocalReply. In a callback
// without a stream, like on_tick, nothing is sent and the status is Ok all the same.
//
// Parameters: HTTP status, details pointer, details size, body pointer, body size, headers pointer,
// headers size (a map as in decodePairs), gRPC status (-1: none).
//
//   - InvalidMemoryAccess: the details, the body or the headers are out of bounds
//
// cpp-host: src/exports.cc; Envoy: context.cc, sendLocalResponse.
func proxySendLocalResponse(v *vm, a args) uint32 {
	details, okDetails := v.readString(a.u32(1), a.u32(2))
	body, okBody := v.readBytes(a.u32(3), a.u32(4))
	pairs, okPairs := v.view(a.u32(5), a.u32(6))
	if !okDetails || !okBody || !okPairs {
		return uint32(StatusInvalidMemoryAccess)
	}
	if s := v.context().stream; s != nil {
		reply := s.newLocalReply(int(a.u32(0)), decodePairs(pairs), body, details, int32(a.u32(7)))
		v.deferred = append(v.deferred, func() { s.sendLocalReply(reply) })
	}
	v.stopIteration = true
	return uint32(StatusOk)
}

// proxyContinueStream is proxy_continue_stream. After the callback has returned, the filter chain
// goes on with what it held. The guest can no longer reach the headers and the body of the request,
// even if it is the response that continues.
//
// Parameters: stream type (0 request, 1 response, 2 downstream, 3 upstream).
//
//   - BadArgument: the type is above 3
//   - Unimplemented: the type is upstream
//
// cpp-host: src/exports.cc; Envoy: context.cc, continueStream.
func proxyContinueStream(v *vm, a args) uint32 { return uint32(v.continueStream(a.u32(0))) }

// proxyContinueRequest is proxy_continue_request of ABI 0.1.0: proxy_continue_stream with type 0.
//
// cpp-host: src/exports.cc, continue_request.
func proxyContinueRequest(v *vm, _ args) uint32 { return uint32(v.continueStream(streamRequest)) }

// proxyContinueResponse is proxy_continue_response of ABI 0.1.0: proxy_continue_stream with type 1.
//
// cpp-host: src/exports.cc, continue_response.
func proxyContinueResponse(v *vm, _ args) uint32 { return uint32(v.continueStream(streamResponse)) }

func (v *vm) continueStream(kind uint32) Status {
	switch kind {
	case streamRequest, streamResponse:
		if s := v.context().stream; s != nil {
			f := &s.request
			if kind == streamResponse {
				f = &s.response
			}
			v.deferred = append(v.deferred, func() { s.resume(f) })
			s.request.hide()
		}
		return StatusOk
	case streamDownstream:
		if c := v.context().connection; c != nil {
			v.deferred = append(v.deferred, c.continueReading)
		}
		return StatusOk
	case streamUpstream:
		return StatusUnimplemented
	default:
		return StatusBadArgument
	}
}

// proxyCloseStream is proxy_close_stream. The stream is reset after the callback has returned.
// Types 0 and 1 both reset the whole stream; 2 and 3 both close the connection with the client. The
// status is Ok even if there is nothing to reset or to close.
//
// Parameters: stream type (0 request, 1 response, 2 downstream, 3 upstream).
//
//   - BadArgument: the type is above 3
//
// cpp-host: src/exports.cc; Envoy: context.cc, closeStream.
func proxyCloseStream(v *vm, a args) uint32 {
	kind := a.u32(0)
	if kind > streamUpstream {
		return uint32(StatusBadArgument)
	}
	if c := v.context().connection; c != nil && (kind == streamDownstream || kind == streamUpstream) {
		v.deferred = append(v.deferred, func() { c.close(closedLocally) })
	}
	if s := v.context().stream; s != nil && (kind == streamRequest || kind == streamResponse) {
		if s.details == "" {
			s.details = closeStreamDetails
		}
		v.deferred = append(v.deferred, func() { s.finish(Reset) })
	}
	return uint32(StatusOk)
}

// proxyClearRouteCache is proxy_clear_route_cache of ABI 0.1.0. Envoy chooses the route of the
// request anew. The status is always Ok, even without a stream.
//
// cpp-host: src/exports.cc, clear_route_cache; Envoy: context.h, clearRouteCache.
func proxyClearRouteCache(v *vm, _ args) uint32 {
	if s := v.context().stream; s != nil {
		s.routeClears++
	}
	return uint32(StatusOk)
}
