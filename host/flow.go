package host

import "slices"

// Message is what has gone past the filter in one direction: to the upstream, or
// to the client.
type Message struct {
	Headers  Headers // nil: none yet
	Body     []byte
	Trailers Headers
	Complete bool // the end has gone past too
}

// hold is how far Envoy's filter chain is stopped at this filter.
type hold int

const (
	holdNone hold = iota
	holdOne       // data that the filter has seen is kept back
	holdAll       // the filter is not shown what arrives either
)

// direction names the callbacks of requests or of responses.
type direction struct{ headers, body, trailers string }

var (
	requestNames  = direction{"proxy_on_request_headers", "proxy_on_request_body", "proxy_on_request_trailers"}
	responseNames = direction{"proxy_on_response_headers", "proxy_on_response_body", "proxy_on_response_trailers"}
)

// flow is one direction of a stream: a message on its way through the filter.
//
// Envoy: source/common/http/filter_manager.cc (commonContinue and the
// commonHandleAfter… functions), source/extensions/common/wasm/context.cc
// (decodeHeaders to encodeTrailers).
type flow struct {
	direction direction

	headers  Headers
	trailers Headers
	body     buffer // kept back
	started  bool   // headers arrived
	ended    bool   // the end arrived

	hold            hold
	inHeaders       bool // the guest is in the headers callback
	buffering       bool // the guest is to see the whole body so far
	passed          bool // headers went past
	hasTrailers     bool // trailers arrived and were shown, or the guest added some
	trailersWaiting bool // trailers arrived while everything was held

	// What the guest can reach now; nil is what it cannot.
	openHeaders, openTrailers *Headers
	openBody                  *buffer

	out Message
}

// shut takes away what the guest could reach.
func (f *flow) shut() { f.openHeaders, f.openTrailers, f.openBody = nil, nil, nil }

func (s *Stream) headersArrive(f *flow, end bool) Action {
	f.started, f.ended = true, end
	if !s.asks(f) {
		s.passHeaders(f, end)
		return Continue
	}
	f.openHeaders = &f.headers
	s.endOfStream = end
	f.inHeaders = true
	action := s.ask(headersAction, f.direction.headers, uint64(len(f.headers)), flag(end))
	f.inHeaders = false
	if action == Continue {
		f.openHeaders = nil
	}
	switch {
	case s.destroyed:
	case action != Continue:
		f.hold = holdAll
	case f.passed:
		s.worker.world.log(s.worker.index, LogError,
			"continue_stream in a headers callback that answers Continue: Envoy sends the headers on twice")
	default:
		s.passHeaders(f, end)
	}
	return action
}

func (s *Stream) bodyArrives(f *flow, data []byte, end bool) Action {
	f.ended = f.ended || end
	if f.hold == holdAll {
		f.body.data = append(f.body.data, data...)
		return StopAllIterationAndWatermark
	}
	return s.offerBody(f, slices.Clone(data), end)
}

// offerBody shows the guest a chunk, or all that is buffered with the chunk at
// its end if it asked for that.
func (s *Stream) offerBody(f *flow, data []byte, end bool) Action {
	if !s.asks(f) {
		f.body.data = append(f.body.data, data...)
		s.passOn(f)
		return Continue
	}
	chunk := &buffer{data: data}
	f.openBody = chunk
	if f.buffering {
		f.body.data = append(f.body.data, data...)
		f.openBody, chunk = &f.body, nil
	}
	s.endOfStream = end
	action := s.ask(bodyAction, f.direction.body, uint64(len(f.openBody.data)), flag(end))
	f.buffering = action == StopIterationAndBuffer
	f.openBody = nil
	if s.destroyed {
		return action
	}
	if chunk != nil && action != StopIterationNoBuffer {
		f.body.data = append(f.body.data, chunk.data...)
	}
	if action == Continue {
		s.passOn(f)
		return action
	}
	f.hold = holdOne
	if f.buffering {
		f.openBody = &f.body
	}
	return action
}

func (s *Stream) trailersArrive(f *flow, trailers Headers) Action {
	f.ended = true
	f.trailers = trailers.normalized()
	if f.hold == holdAll {
		f.trailersWaiting = true
		return StopAllIterationAndWatermark
	}
	return s.offerTrailers(f)
}

func (s *Stream) offerTrailers(f *flow) Action {
	f.hasTrailers = true
	if !s.asks(f) {
		s.passOn(f)
		return Continue
	}
	f.openTrailers = &f.trailers
	action := s.ask(trailersAction, f.direction.trailers, uint64(len(f.trailers)))
	if action == Continue {
		f.openTrailers = nil
	}
	switch {
	case s.destroyed:
	case action == Continue:
		s.passOn(f)
	default:
		f.hold = holdOne
	}
	return action
}

// resume is continue_stream, when the callback that asked for it has returned.
// After a stop of everything the headers go to the next filter, and what was kept
// back behind them is shown to this one first. If it was the headers callback
// itself, they go on, and what it answers holds only what follows them. After a
// local reply no request goes on.
func (s *Stream) resume(f *flow) {
	if s.ended || f == &s.request && s.reply != nil {
		return
	}
	switch f.hold {
	case holdNone:
		if f.inHeaders && !f.passed {
			s.passHeaders(f, f.ended)
		}
		return
	case holdOne:
		s.passOn(f)
		return
	}
	f.hold = holdNone
	body := f.body.data
	f.body.data = nil
	if !f.passed {
		s.passHeaders(f, f.ended && len(body) == 0 && !f.trailersWaiting)
	}
	if len(body) > 0 && !s.ended {
		s.offerBody(f, body, f.ended && !f.trailersWaiting)
	}
	if f.trailersWaiting && !s.ended && f.hold != holdAll {
		f.trailersWaiting = false
		s.offerTrailers(f)
	}
}

func (s *Stream) passHeaders(f *flow, end bool) {
	f.passed = true
	f.out.Headers = slices.Clone(f.headers)
	if end {
		s.complete(f)
	}
}

// passOn lets go of everything that was kept back.
func (s *Stream) passOn(f *flow) {
	f.hold = holdNone
	if !f.passed {
		s.passHeaders(f, false)
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

// complete marks the end of a direction. A complete response ends the stream,
// whether or not the request is complete. One that is made for a stream that has
// ended, by a local reply carried out in on_log, still reaches the client.
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

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
