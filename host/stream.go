package host

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Stream is one HTTP request and its response on their way through the filter. The test plays the
// client and the upstream: it says what arrives, and looks at what the filter let through. Each of
// the functions RequestHeaders to ResponseTrailers runs one callback and returns what the filter
// chain does next. After the stream has ended, or Envoy has replied to it, they do nothing and
// return None. They panic if the test calls them in an order in which nothing can arrive: a body
// before its headers or after the end, a response before its request, or headers twice.
//
// A stream ends when the whole response has gone to the client, when the filter resets it, or by
// End. Then on_log, on_done and on_delete are called. For HTTP/3 see [Stream.SetProtocol].
type Stream struct {
	session
	protocol Protocol

	isHEAD, isGRPC bool // of the client's request, whatever filters make of it

	request, response flow
	endOfStream       bool // of the newest headers or body callback
	logging           int  // how many calls of on_log are running, one inside the other
	failureReplySent  bool
	viaUpstream       bool        // the response comes from the upstream
	decoding          bool        // a request callback is running
	prepared          *LocalReply // sent when the request callback has returned
	ended             bool
	ending            Ending
	destroyed         bool // on_log has returned: nothing more goes to the client or the upstream
	reply             *LocalReply
	details           string

	routeClears     int       // how often the guest cleared the route cache
	requestSent     time.Time // when the request headers went to the upstream
	responseArrived time.Time // when the end of the upstream's response arrived
	closed          time.Time // when the stream ended
}

// RequestHeaders shows the filter the request headers that were given to Open.
func (s *Stream) RequestHeaders(endOfStream bool) Action {
	if s.over() {
		return None
	}
	s.mustBeNext(&s.request, "Headers")
	s.create()
	return s.headersArrive(&s.request, endOfStream)
}

// RefuseBefore lets Envoy, or a filter before this one, answer the request before this filter has
// seen it, as Envoy answers a malformed request with 400. The response does not pass through this
// filter, whose only callbacks are those of the stream's end.
func (s *Stream) RefuseBefore(response Headers) {
	if s.request.started || s.ended {
		panic("host: RefuseBefore, but this filter has seen the request")
	}
	s.response.started, s.response.ended = true, true
	s.response.headers = response.normalized()
	s.sendHeaders(&s.response, true)
}

// RequestBody lets a part of the request body arrive. If the filter has stopped everything in its
// headers callback, it does not see the body now, and the action says that the chain is stopped.
func (s *Stream) RequestBody(data []byte, endOfStream bool) Action {
	if s.over() {
		return None
	}
	s.mustBeNext(&s.request, "Body")
	return s.bodyArrives(&s.request, data, endOfStream)
}

// RequestMetadata lets a METADATA frame of HTTP/2 arrive in the request. Few Envoys have the option
// allow_metadata, without which such frames are dropped. The filter learns only how many entries
// there are: no hostcall reads them, and whatever it returns, they go on. If the filter has stopped
// everything in its headers callback, it is called when it continues.
func (s *Stream) RequestMetadata(metadata map[string]string) Action {
	if s.over() {
		return None
	}
	s.mustBeNext(&s.request, "Metadata")
	return s.metadataArrives(&s.request, metadata)
}

// RequestTrailers lets the request end with trailers.
func (s *Stream) RequestTrailers(trailers Headers) Action {
	if s.over() {
		return None
	}
	s.mustBeNext(&s.request, "Trailers")
	return s.trailersArrive(&s.request, trailers)
}

// ResponseHeaders lets the upstream's response headers arrive.
func (s *Stream) ResponseHeaders(headers Headers, endOfStream bool) Action {
	if s.over() {
		return None
	}
	s.mustBeNext(&s.response, "Headers")
	if s.details == "" {
		s.details = "via_upstream"
	}
	s.response.headers = headers.normalized()
	s.viaUpstream = true
	s.responseEnds(endOfStream)
	return s.headersArrive(&s.response, endOfStream)
}

// ResponseBody lets a part of the upstream's response body arrive.
func (s *Stream) ResponseBody(data []byte, endOfStream bool) Action {
	if s.over() {
		return None
	}
	s.mustBeNext(&s.response, "Body")
	s.responseEnds(endOfStream)
	return s.bodyArrives(&s.response, data, endOfStream)
}

// ResponseMetadata is RequestMetadata for the response.
func (s *Stream) ResponseMetadata(metadata map[string]string) Action {
	if s.over() {
		return None
	}
	s.mustBeNext(&s.response, "Metadata")
	return s.metadataArrives(&s.response, metadata)
}

// ResponseTrailers lets the upstream's response end with trailers.
func (s *Stream) ResponseTrailers(trailers Headers) Action {
	if s.over() {
		return None
	}
	s.mustBeNext(&s.response, "Trailers")
	s.responseEnds(true)
	return s.trailersArrive(&s.response, trailers)
}

// End makes the client disconnect. It does nothing if the stream has ended.
func (s *Stream) End() {
	if !s.ended {
		s.finish(Disconnected)
	}
}

// Ended reports whether the stream has ended.
func (s *Stream) Ended() bool { return s.ended }

// Ending returns how the stream ended, or zero if it is open.
func (s *Stream) Ending() Ending { return s.ending }

// WasReset reports whether the stream was cut before its response was complete, by the filter or
// because its VM failed.
func (s *Stream) WasReset() bool { return s.ending == Reset }

// LocalReply returns the reply that Envoy sent in place of the upstream's response, or nil.
func (s *Stream) LocalReply() *LocalReply { return s.reply }

// Details returns what Envoy logs as RESPONSE_CODE_DETAILS.
func (s *Stream) Details() string { return s.details }

// ToUpstream returns a copy of the part of the request that the filter has let through.
func (s *Stream) ToUpstream() Message { return s.request.out.clone() }

// ToClient returns a copy of the part of the response that the filter has let through, or of the
// local reply.
func (s *Stream) ToClient() Message { return s.response.out.clone() }

// RequestState returns where the request stands at the filter, for a look at a stream that waits.
func (s *Stream) RequestState() State { return s.request.state() }

// ResponseState returns where the response stands at the filter.
func (s *Stream) ResponseState() State { return s.response.state() }

// RouteClears returns how often the guest made Envoy choose the stream's route anew: by a change of
// the request headers, with proxy_clear_route_cache of ABI 0.1.0, or with the foreign function
// clear_route_cache.
func (s *Stream) RouteClears() int { return s.routeClears }

func (m Message) clone() Message {
	m.Headers, m.Trailers, m.Metadata = slices.Clone(m.Headers), slices.Clone(m.Trailers), slices.Clone(m.Metadata)
	m.Body = bytes.Clone(m.Body)
	return m
}

// over reports whether nothing more can arrive. A local reply also replaces everything that the
// client and the upstream would still send.
func (s *Stream) over() bool { return s.ended || s.reply != nil }

// mustBeNext panics if this part of a message cannot arrive now.
func (s *Stream) mustBeNext(f *flow, part string) {
	message := f.callbacks.message
	switch {
	case part == "Headers" && f.started:
		panic(fmt.Sprintf("host: %sHeaders twice", message))
	case part == "Headers" && f == &s.response && !s.request.started:
		panic("host: ResponseHeaders before RequestHeaders; for a request that never reaches this filter there is RefuseBefore")
	case part == "Headers":
	case !f.started:
		panic(fmt.Sprintf("host: %s%s before %sHeaders", message, part, message))
	case f.ended:
		panic(fmt.Sprintf("host: %s%s after the end of the %s", message, part, strings.ToLower(message)))
	}
}

// responseEnds notes that the end of the upstream's response has arrived, if it has.
func (s *Stream) responseEnds(end bool) {
	if end {
		s.responseArrived = s.worker.world.now
	}
}

// isFiltered reports whether the filter takes part in this direction of the stream. It does not
// before it has seen the request headers, nor in the response after Envoy has replied for a failed
// VM.
func (s *Stream) isFiltered(f *flow) bool {
	return s.created && (f == &s.request || !s.failureReplySent)
}

// callFilter makes a callback and converts its result into an action. If the VM has failed, or
// fails now, the stream fails with it, or bypasses the filter under FailOpen.
//
// cpp-host: src/context.cc, CHECK_FAIL and onRequestHeaders to onResponseTrailers.
func (s *Stream) callFilter(f *flow, convert func(uint32, bool) Action, callback string, arguments ...uint64) Action {
	if s.vm == nil || s.vm.failed {
		f.action = s.failureAction(convert)
		return f.action
	}
	if !s.vm.has(callback) {
		return Continue
	}
	arguments = append([]uint64{uint64(s.context.id)}, arguments...)
	s.decoding = !s.response.started
	result, _ := s.vm.enterCallback(s.context, callback, arguments...)
	action := convert(result, s.vm.stopIteration)
	if s.vm.failed {
		action = s.failureAction(convert)
	}
	f.action = action
	s.vm.finishCallback()
	s.decoding = false
	s.sendPreparedReply()
	return action
}

// failureAction fails the stream, or lets it bypass the filter under FailOpen.
func (s *Stream) failureAction(convert func(uint32, bool) Action) Action {
	if s.worker.world.config.FailurePolicy == FailOpen {
		return Continue
	}
	s.failStream()
	return convert(0, true)
}
