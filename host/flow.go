package host

import (
	"maps"
	"slices"
)

// Message is what the filter let through in one direction: to the upstream, or to the client.
type Message struct {
	Headers  Headers // nil: not yet
	Body     []byte
	Trailers Headers
	Metadata []map[string]string // METADATA frames of HTTP/2
	Complete bool                // the end of the message went through too
}

// State is one direction of a stream at the filter: what has arrived, as the filter has left it,
// and whether it waits there. What has gone on is in [Stream.ToUpstream] and [Stream.ToClient].
type State struct {
	Headers  Headers // nil: not yet
	Body     []byte  // the part that the filter holds
	Trailers Headers // nil: none yet
	Ended    bool    // the end has arrived

	Action Action // of the newest callback; None: there was none
	Paused bool   // it waits for proxy_continue_stream, or for more data
}

func (f *flow) state() State {
	return State{
		Headers: slices.Clone(f.headers), Body: slices.Clone(f.body.data), Trailers: slices.Clone(f.trailers), Ended: f.ended,
		Action: f.action, Paused: f.iteration != iterating,
	}
}

// iterationState says how far Envoy's filter chain is stopped at this filter, in one direction.
//
// Envoy: source/common/http/filter_manager.h, IterationState.
type iterationState int

const (
	iterating     iterationState = iota
	stoppedSingle                // the filter sees new data, but nothing goes on to the next filter
	stoppedAll                   // the filter does not see new data either
)

// callbackNames are the callbacks of requests or of responses.
type callbackNames struct{ message, headers, body, trailers, metadata string }

var (
	requestCallbacks = callbackNames{
		"Request", "proxy_on_request_headers", "proxy_on_request_body", "proxy_on_request_trailers", "proxy_on_request_metadata",
	}
	responseCallbacks = callbackNames{
		"Response", "proxy_on_response_headers", "proxy_on_response_body", "proxy_on_response_trailers", "proxy_on_response_metadata",
	}
)

// flow is one direction of a stream: a message on its way through the filter.
//
// Envoy: source/common/http/filter_manager.cc (commonContinue and the commonHandleAfter…
// functions), source/extensions/common/wasm/context.cc (decodeHeaders to encodeTrailers).
type flow struct {
	callbacks callbackNames

	headers  Headers
	trailers Headers
	body     buffer // held at this filter
	started  bool   // the headers have arrived
	ended    bool   // the end has arrived
	received int64  // bytes of the body that have arrived

	iteration       iterationState
	action          Action              // of the newest callback
	inHeaders       bool                // the headers callback is running
	buffering       bool                // the next body callback sees everything that is held, not only the new data
	headersSent     bool                // the headers went on to the next filter
	hasTrailers     bool                // the filter has seen trailers, or added some
	trailersWaiting bool                // trailers arrived in state stoppedAll
	metadataWaiting []map[string]string // METADATA frames that arrived in state stoppedAll

	// What the guest can reach now. The others are nil.
	visibleHeaders, visibleTrailers *Headers
	visibleBody                     *buffer

	out Message // what went on to the next filter
}

// hide makes everything unreachable for the guest, except a body that it has asked to buffer: this
// one goes only when it goes on.
func (f *flow) hide() {
	f.visibleHeaders, f.visibleTrailers = nil, nil
	if !f.buffering {
		f.visibleBody = nil
	}
}

func (s *Stream) headersArrive(f *flow, end bool) Action {
	f.started, f.ended = true, end
	if !s.isFiltered(f) {
		s.sendHeaders(f, end)
		return Continue
	}
	f.visibleHeaders = &f.headers
	s.endOfStream = end
	f.inHeaders = true
	action := s.callFilter(f, s.headersAction, f.callbacks.headers, uint64(len(f.headers)), boolUint64(end))
	f.inHeaders = false
	if action == Continue {
		f.visibleHeaders = nil
	}
	switch {
	case s.destroyed:
	case action == StopIteration:
		f.iteration = stoppedSingle
	case action != Continue:
		f.iteration = stoppedAll
	case f.headersSent:
		s.worker.world.log(s.worker.index, LogError,
			"continue_stream in a headers callback that returns Continue: Envoy sends the headers twice")
	default:
		s.sendHeaders(f, end)
	}
	return action
}

// headersAction is the function of this name, or what Envoy does with Pause (1) if the plugin has
// the option allow_on_headers_stop_iteration.
func (s *Stream) headersAction(result uint32, stopped bool) Action {
	if result == 1 && !stopped && s.worker.world.config.AllowStopIteration {
		return StopIteration
	}
	return headersAction(result, stopped)
}

func (s *Stream) bodyArrives(f *flow, data []byte, end bool) Action {
	f.ended = f.ended || end
	f.received += int64(len(data))
	if f.iteration == stoppedAll {
		f.body.data = append(f.body.data, data...)
		return StopAllIterationAndWatermark
	}
	return s.showBody(f, slices.Clone(data), end)
}

// showBody shows the filter new data, together with everything that is held if the filter asked to
// buffer.
func (s *Stream) showBody(f *flow, data []byte, end bool) Action {
	if !s.isFiltered(f) {
		f.body.data = append(f.body.data, data...)
		s.sendHeld(f)
		return Continue
	}
	chunk := &buffer{data: data}
	f.visibleBody = chunk
	if f.buffering {
		f.body.data = append(f.body.data, data...)
		f.visibleBody, chunk = &f.body, nil
	}
	s.endOfStream = end
	action := s.callFilter(f, bodyAction, f.callbacks.body, uint64(len(f.visibleBody.data)), boolUint64(end))
	f.buffering = action == StopIterationAndBuffer
	f.visibleBody = nil
	if s.destroyed {
		return action
	}
	if chunk != nil && action != StopIterationNoBuffer {
		f.body.data = append(f.body.data, chunk.data...)
	}
	if action == Continue {
		s.sendHeld(f)
		return action
	}
	f.iteration = stoppedSingle
	if f.buffering {
		f.visibleBody = &f.body
	}
	return action
}

func (s *Stream) trailersArrive(f *flow, trailers Headers) Action {
	f.ended = true
	f.trailers = trailers.normalized()
	if f.iteration == stoppedAll {
		f.trailersWaiting = true
		return StopAllIterationAndWatermark
	}
	return s.showTrailers(f)
}

func (s *Stream) showTrailers(f *flow) Action {
	f.hasTrailers = true
	if !s.isFiltered(f) {
		s.sendHeld(f)
		return Continue
	}
	f.visibleTrailers = &f.trailers
	action := s.callFilter(f, trailersAction, f.callbacks.trailers, uint64(len(f.trailers)))
	if action == Continue {
		f.visibleTrailers = nil
	}
	switch {
	case s.destroyed:
	case action == Continue:
		s.sendHeld(f)
	default:
		f.iteration = stoppedSingle
	}
	return action
}

func (s *Stream) metadataArrives(f *flow, metadata map[string]string) Action {
	metadata = maps.Clone(metadata)
	if f.iteration == stoppedAll {
		f.metadataWaiting = append(f.metadataWaiting, metadata)
		return StopAllIterationAndWatermark
	}
	return s.showMetadata(f, metadata)
}

// showMetadata shows the filter a METADATA frame. The frame goes on at once, even if the filter
// holds the headers or the body.
//
// Envoy: source/common/http/filter_manager.cc, decodeMetadata and encodeMetadata.
func (s *Stream) showMetadata(f *flow, metadata map[string]string) Action {
	action := Continue
	if s.isFiltered(f) {
		action = s.callFilter(f, metadataAction, f.callbacks.metadata, uint64(len(metadata)))
	}
	if !s.destroyed {
		f.out.Metadata = append(f.out.Metadata, metadata)
	}
	return action
}

// resume is proxy_continue_stream, after the callback that called it has returned.
//
// If everything was stopped, the headers go to the next filter, and the filter is now shown the
// body and the trailers that arrived in the meantime. If the call came from the headers callback
// itself, the headers go on, and the result of that callback applies only to what follows them. A
// request does not go on after a local reply.
func (s *Stream) resume(f *flow) {
	if s.ended || f == &s.request && (s.reply != nil || s.prepared != nil) {
		return
	}
	switch f.iteration {
	case iterating:
		if f.inHeaders && !f.headersSent {
			s.sendHeaders(f, f.ended)
		}
		return
	case stoppedSingle:
		s.sendHeld(f)
		return
	}
	f.iteration = iterating
	body := f.body.data
	f.body.data = nil
	if !f.headersSent {
		s.sendHeaders(f, f.ended && len(body) == 0 && !f.trailersWaiting)
	}
	for len(f.metadataWaiting) > 0 && !s.ended {
		metadata := f.metadataWaiting[0]
		f.metadataWaiting = f.metadataWaiting[1:]
		s.showMetadata(f, metadata)
	}
	if len(body) > 0 && !s.ended {
		s.showBody(f, body, f.ended && !f.trailersWaiting)
	}
	if f.trailersWaiting && !s.ended && f.iteration != stoppedAll {
		f.trailersWaiting = false
		s.showTrailers(f)
	}
}

func (s *Stream) sendHeaders(f *flow, end bool) {
	f.headersSent = true
	if f == &s.request {
		s.requestSent = s.worker.world.now
	}
	f.out.Headers = slices.Clone(f.headers)
	if end {
		s.complete(f)
	}
}

// sendHeld lets everything go that was held.
func (s *Stream) sendHeld(f *flow) {
	f.iteration = iterating
	if !f.headersSent {
		s.sendHeaders(f, false)
	}
	f.out.Body = append(f.out.Body, f.body.data...)
	f.body.data = nil
	if f.hasTrailers {
		f.out.Trailers = slices.Clone(f.trailers)
	}
	if f.ended && !f.trailersWaiting {
		s.complete(f)
	}
}

// complete marks the end of a message. A complete response ends the stream, even if the request is
// not complete. If the stream has ended already, this is a local reply that was sent in on_log:
// Envoy still delivers it to the client.
func (s *Stream) complete(f *flow) {
	f.out.Complete = true
	switch {
	case f == &s.request:
	case s.ended:
		s.ending = Completed
	default:
		s.finish(Completed)
	}
}

func boolUint64(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
