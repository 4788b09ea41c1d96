package host

import (
	"bytes"
	"slices"
	"time"
)

// Stream is one HTTP request and its response on their way through the filter.
// The test is client and upstream: it says what arrives, phase by phase, and looks
// at what went past. Each phase returns what the filter chain does next; on a
// stream that has ended, phases do nothing and return None.
//
// A stream ends when its response has gone out whole, when the filter resets it,
// or by End, and then on_log, on_done and on_delete run, but see [Stream.SetProtocol].
type Stream struct {
	worker     *Worker
	vm         *vm     // nil if the VM had failed when the stream began
	plugin     *plugin // whose context it is in; nil like vm
	context    *vmContext
	protocol   Protocol
	unfiltered bool // fail open, or no plugin on this worker
	created    bool // on_context_create was called

	request, response flow
	endOfStream       bool // of the frame that was shown last
	logging           int  // on_log is running, so often one in the other
	failureReplySent  bool
	decoding          bool        // in a callback of the request
	prepared          *LocalReply // waits until that has returned
	ended             bool
	ending            Ending
	destroyed         bool // past on_log: nothing is passed on any more
	reply             *LocalReply
	details           string

	opened      time.Time
	properties  map[string][]byte
	filterState map[string][]byte
}

// RequestHeaders shows the filter the request headers that Open was given.
func (s *Stream) RequestHeaders(endOfStream bool) Action {
	if s.over() {
		return None
	}
	s.create()
	return s.headersArrive(&s.request, endOfStream)
}

// RequestBody lets a chunk of the request body arrive. While the filter chain is
// stopped at the headers the filter does not see it, and the action says that it
// is stopped.
func (s *Stream) RequestBody(data []byte, endOfStream bool) Action {
	if s.over() {
		return None
	}
	return s.bodyArrives(&s.request, data, endOfStream)
}

// RequestTrailers lets the request end with trailers.
func (s *Stream) RequestTrailers(trailers Headers) Action {
	if s.over() {
		return None
	}
	return s.trailersArrive(&s.request, trailers)
}

// ResponseHeaders lets the upstream's response headers arrive.
func (s *Stream) ResponseHeaders(headers Headers, endOfStream bool) Action {
	if s.over() {
		return None
	}
	if s.details == "" {
		s.details = "via_upstream"
	}
	s.response.headers = headers.normalized()
	return s.headersArrive(&s.response, endOfStream)
}

// ResponseBody lets a chunk of the upstream's response body arrive.
func (s *Stream) ResponseBody(data []byte, endOfStream bool) Action {
	if s.over() {
		return None
	}
	return s.bodyArrives(&s.response, data, endOfStream)
}

// ResponseTrailers lets the upstream's response end with trailers.
func (s *Stream) ResponseTrailers(trailers Headers) Action {
	if s.over() {
		return None
	}
	return s.trailersArrive(&s.response, trailers)
}

// End is the client going away. It is nothing on a stream that has ended.
func (s *Stream) End() {
	if !s.ended {
		s.finish(Disconnected)
	}
}

// ID returns the context id, unique within the worker's VM; 0 if there is none
// because the VM had failed.
func (s *Stream) ID() uint32 {
	if s.context == nil {
		return 0
	}
	return s.context.id
}

// Worker returns the worker the stream lives on.
func (s *Stream) Worker() *Worker { return s.worker }

// Ended reports whether the stream is over.
func (s *Stream) Ended() bool { return s.ended }

// Ending returns how the stream ended, zero if it has not.
func (s *Stream) Ending() Ending { return s.ending }

// WasReset reports whether the stream was cut before its response was whole, by
// the filter or because its VM failed.
func (s *Stream) WasReset() bool { return s.ending == Reset }

// LocalReply returns the reply that Envoy sent in place of the upstream's
// response, nil if there was none.
func (s *Stream) LocalReply() *LocalReply { return s.reply }

// Details returns what Envoy logs as RESPONSE_CODE_DETAILS.
func (s *Stream) Details() string { return s.details }

// ToUpstream returns a copy of what of the request went past the filter.
func (s *Stream) ToUpstream() Message { return s.request.out.clone() }

// ToClient returns a copy of what of the response, or of a local reply, went past
// the filter.
func (s *Stream) ToClient() Message { return s.response.out.clone() }

// FilterState returns a copy of what the guest set with proxy_set_property, under
// the names that Envoy's access log uses: "wasm." and the path.
func (s *Stream) FilterState() map[string]string {
	out := make(map[string]string, len(s.filterState))
	for k, v := range s.filterState {
		out[k] = string(v)
	}
	return out
}

// SetProperty sets what proxy_get_property finds at a path in this stream, before
// anything that Config.Properties or the host itself would say.
func (s *Stream) SetProperty(value []byte, path ...string) {
	s.properties[PropertyPath(path...)] = slices.Clone(value)
}

func (m Message) clone() Message {
	m.Headers, m.Trailers = slices.Clone(m.Headers), slices.Clone(m.Trailers)
	m.Body = bytes.Clone(m.Body)
	return m
}

// over reports whether nothing can arrive any more: a local reply takes the place
// of whatever client and upstream still had to say.
func (s *Stream) over() bool { return s.ended || s.reply != nil }

// create calls on_context_create, once.
func (s *Stream) create() {
	if s.created || s.unfiltered {
		return
	}
	s.created = true
	if s.vm != nil {
		s.vm.callback(s.context, "proxy_on_context_create", uint64(s.context.id), uint64(s.context.parent.id))
	}
}

// asks reports whether the filter is in the way at all: not before it saw the
// request headers, and no response after its VM failed the stream.
func (s *Stream) asks(f *flow) bool {
	return s.created && (f == &s.request || !s.failureReplySent)
}

// ask makes a callback and says what Envoy makes of the result. If the VM has
// failed, or fails now, the stream fails with it, or passes unfiltered.
//
// cpp-host: src/context.cc, CHECK_FAIL and onRequestHeaders to onResponseTrailers.
func (s *Stream) ask(convert func(uint32, bool) Action, callback string, arguments ...uint64) Action {
	if s.vm == nil || s.vm.failed {
		return s.failed(convert)
	}
	if !s.vm.has(callback) {
		return Continue
	}
	arguments = append([]uint64{uint64(s.context.id)}, arguments...)
	s.decoding = !s.response.started
	result, _ := s.vm.enterCallback(s.context, callback, arguments...)
	action := convert(result, s.vm.stopIteration)
	if s.vm.failed {
		action = s.failed(convert)
	}
	s.vm.finishCallback()
	s.decoding = false
	s.sendPreparedReply()
	return action
}

func (s *Stream) failed(convert func(uint32, bool) Action) Action {
	if s.worker.world.config.FailurePolicy == FailOpen {
		return Continue
	}
	s.failStream()
	return convert(0, true)
}
