package host

import (
	"bytes"
	"net/http"
	"strconv"
)

// HTTPCall is a request that a guest has sent to a cluster with proxy_http_call. The test plays the
// upstream: it looks at the request and answers, at once or later, whole or in pieces, or never.
// The guest's on_http_call_response runs when the answer is complete, or when Envoy gives up: see
// [HTTPCall.Reset] and [Config.Clusters].
//
// An answer that the test gives while the guest is in a call on the same worker, in an interceptor,
// reaches the guest when that call has returned.
type HTTPCall struct {
	callout

	// Headers are those that the guest gave, with the content-length of the body. Envoy's router
	// adds x-envoy-internal, and x-envoy-expected-rq-timeout-ms if there is a time-out.
	Headers  Headers
	Body     []byte
	Trailers Headers

	started  bool // the headers of the response have arrived
	response Message
}

// HTTPCalls returns the callouts of proxy_http_call that wait for an answer, oldest first, on all
// threads.
func (w *World) HTTPCalls() []*HTTPCall { return callouts[*HTTPCall](w) }

func callouts[C openCallout](w *World) (calls []C) {
	for _, o := range w.network.open {
		if c, ok := o.(C); ok && o.common().world == w {
			calls = append(calls, c)
		}
	}
	return calls
}

// Respond answers with a whole response: see [Response] for the headers. The trailers may be nil.
func (c *HTTPCall) Respond(headers Headers, body []byte, trailers Headers) {
	c.RespondHeaders(headers, len(body) == 0 && trailers == nil)
	if len(body) > 0 {
		c.RespondBody(body, trailers == nil)
	}
	if trailers != nil {
		c.RespondTrailers(trailers)
	}
}

// RespondHeaders lets the headers of the response arrive at Envoy, which adds
// x-envoy-upstream-service-time. They must have a ":status": see [Response].
func (c *HTTPCall) RespondHeaders(headers Headers, endOfStream bool) {
	if !c.mustBeOpen("HTTPCall.RespondHeaders") {
		return
	}
	switch _, ok := headers.Get(":status"); {
	case c.started:
		panic("host: HTTPCall.RespondHeaders twice")
	case !ok:
		panic("host: HTTPCall.RespondHeaders: want a :status among the headers, as host.Response makes them")
	}
	c.started = true
	c.response.Headers = headers.normalized()
	c.response.Headers.replace("x-envoy-upstream-service-time", strconv.FormatInt(c.upstreamTime(), 10))
	c.end(endOfStream)
}

// RespondBody lets a part of the response's body arrive at Envoy.
func (c *HTTPCall) RespondBody(data []byte, endOfStream bool) {
	if c.mustBeOpen("HTTPCall.RespondBody") {
		c.mustHaveStarted("RespondBody")
		c.response.Body = append(c.response.Body, data...)
		c.end(endOfStream)
	}
}

// RespondTrailers lets the response end with trailers.
func (c *HTTPCall) RespondTrailers(trailers Headers) {
	if c.mustBeOpen("HTTPCall.RespondTrailers") {
		c.mustHaveStarted("RespondTrailers")
		c.response.Trailers = trailers.normalized()
		c.end(true)
	}
}

// Reset cuts the call off, from the upstream's side. If no response headers have arrived, the guest
// gets a response all the same: the 503 that Envoy's router makes. After them it gets none:
// on_http_call_response has no headers, and proxy_get_status says BrokenConnection, "reset".
func (c *HTTPCall) Reset(reason ResetReason) {
	if !c.mustBeOpen("HTTPCall.Reset") {
		return
	}
	c.answered = true
	if c.started {
		c.fail()
		return
	}
	c.replyLocally(503, resetReply(reason))
}

// expire is the time-out. It gives the guest a response, too, unless it comes in the middle of one.
func (c *HTTPCall) expire() {
	c.cancelled = true
	if c.started {
		c.fail()
		return
	}
	c.replyLocally(504, timeoutReply)
}

func (c *HTTPCall) mustHaveStarted(method string) {
	if !c.started {
		panic("host: HTTPCall." + method + " before HTTPCall.RespondHeaders")
	}
}

func (c *HTTPCall) end(endOfStream bool) {
	if endOfStream {
		c.answered = true
		c.finish(func() { c.succeed() })
	}
}

// replyLocally gives the guest a response of Envoy's router.
func (c *HTTPCall) replyLocally(status int, body string) {
	c.response = Message{
		Headers: Response(status, "content-length", strconv.Itoa(len(body)), "content-type", "text/plain"),
		Body:    []byte(body),
	}
	c.finish(func() { c.succeed() })
}

// finish takes the call off the network and calls the guest.
func (c *HTTPCall) finish(deliver func()) {
	c.leave()
	c.vm.whenIdle(deliver)
}

// succeed calls on_http_call_response. The guest can reach the response only in this call, and in
// nothing that it makes happen afterwards.
//
// Envoy: context.cc, onHttpCallSuccess.
func (c *HTTPCall) succeed() {
	c.root.httpResponse = &c.response
	c.call(func() { c.root.httpResponse = nil },
		len(c.response.Headers), len(c.response.Body), len(c.response.Trailers))
}

// fail calls on_http_call_response without a response. The status stays what it is afterwards.
//
// Envoy: context.cc, onHttpCallFailure.
func (c *HTTPCall) fail() {
	c.finish(func() {
		c.root.statusCode, c.root.statusMessage = uint32(StatusBrokenConnection), "reset"
		c.call(func() { c.root.statusMessage = "" }, 0, 0, 0)
	})
}

// call calls on_http_call_response, unless the plugin context has ended since the answer arrived.
// Afterwards comes before everything else that the call defers.
func (c *HTTPCall) call(afterwards func(), headers, body, trailers int) {
	const callback = "proxy_on_http_call_response"
	if !c.isAlive() || !c.vm.has(callback) {
		afterwards()
		return
	}
	c.vm.deferred = append(c.vm.deferred, afterwards)
	c.vm.callback(c.root, callback, uint64(c.root.id), uint64(c.Token), uint64(headers), uint64(body), uint64(trailers))
}

func (c *HTTPCall) servable() bool { return !c.started }

// serve answers with what a handler answers.
func (c *HTTPCall) serve(handler http.Handler) {
	r, err := newRequest(c.Headers, c.Trailers, bytes.NewReader(c.Body), int64(len(c.Body)))
	if err != nil {
		c.Respond(Response(400), nil, nil)
		return
	}
	headers, body, trailers, aborted := runHandler(handler, r, c.world.realTime())
	switch {
	case headers == nil:
		c.Reset(RemoteReset)
	case aborted:
		c.RespondHeaders(headers, false)
		c.RespondBody(body, false)
		c.Reset(RemoteReset)
	default:
		c.Respond(headers, body, trailers)
	}
}
