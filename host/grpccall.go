package host

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// GRPCCall is a call that a guest has made with proxy_grpc_call, or a stream that it has opened
// with proxy_grpc_stream. The test is the server: it looks at what the guest sends, and answers, at
// once or later, or never. What the guest is told:
//
//	                  call                     stream
//	RespondHeaders    nothing                  on_grpc_receive_initial_metadata
//	Send              nothing                  on_grpc_receive
//	Close, status 0   on_grpc_receive          on_grpc_receive_trailing_metadata, on_grpc_close
//	Close, else       on_grpc_close            the same
//	Reset             on_grpc_close            the same, without metadata
//
// So a call gets either its answer or its failure. A call that is closed with status 0 and without
// an answer fails with status 13 (internal).
//
// The callbacks that the test causes while the guest is in a call on the same worker, in an
// interceptor, come when that call has returned.
type GRPCCall struct {
	callout

	Streaming       bool // opened with proxy_grpc_stream
	Service, Method string

	// Headers are those of the request: what Envoy adds, then the service's and then the guest's
	// initial metadata. Envoy's router adds x-envoy-internal, and x-envoy-expected-rq-timeout-ms if
	// there is a time-out.
	Headers Headers

	received  [][]byte
	guestDone bool // the guest's half has ended
	started   bool // the response headers have arrived
	answer    *[]byte
}

// grpcState is what a plugin context knows of its gRPC calls.
type grpcState struct {
	calls             map[uint32]*grpcEntry // by token
	initial, trailing *Headers              // during the callbacks that show them
	message           *buffer
}

// grpcEntry is what a token stands for. A stream's entry stays after the server has ended it, until
// the guest closes it, too.
type grpcEntry struct {
	call        *GRPCCall
	guestClosed bool // with proxy_grpc_close
	closed      bool // by the server
}

// GRPCCalls returns the calls and streams of gRPC that their servers have not ended, oldest first,
// on all threads.
func (w *World) GRPCCalls() []*GRPCCall { return callouts[*GRPCCall](w) }

// Received returns copies of the messages that the guest has sent so far.
func (c *GRPCCall) Received() [][]byte {
	messages := make([][]byte, len(c.received))
	for i, m := range c.received {
		messages[i] = bytes.Clone(m)
	}
	return messages
}

// HalfClosed reports whether the guest sends no more messages. It is true for calls.
func (c *GRPCCall) HalfClosed() bool { return c.guestDone }

// Respond answers a call with one message and status 0. A stream may be answered so, too.
func (c *GRPCCall) Respond(message []byte) {
	c.Send(message)
	c.Close(0, "", nil)
}

// RespondHeaders sends the response headers with initial metadata, which may be nil. A ":status"
// among them replaces the 200: with another status Envoy gives up the call, as for an answer that
// is not of gRPC.
func (c *GRPCCall) RespondHeaders(metadata Headers) {
	if !c.mustBeOpen("GRPCCall.RespondHeaders") {
		return
	}
	if c.started {
		panic("host: GRPCCall.RespondHeaders after the headers were sent")
	}
	c.started = true
	c.arrive(func() { c.onHeaders(c.responseHeaders(metadata), false) })
}

func (c *GRPCCall) responseHeaders(metadata Headers) Headers {
	h := Headers{{":status", "200"}, {"content-type", "application/grpc"}}
	for _, e := range metadata.normalized() {
		if e.Name == ":status" {
			h.replace(e.Name, e.Value)
		} else {
			h.add(e.Name, e.Value)
		}
	}
	return h
}

// Send sends a message. It sends the response headers first, if that has not been done.
func (c *GRPCCall) Send(message []byte) {
	if !c.mustBeOpen("GRPCCall.Send") {
		return
	}
	message = bytes.Clone(message)
	c.startAnswer()
	c.arrive(func() { c.onMessage(message) })
}

// Close ends the call with a gRPC status, a message, and more trailing metadata, which may be nil.
// If nothing was sent before, the answer consists of headers only, and all of them count as
// trailing metadata.
func (c *GRPCCall) Close(status uint32, message string, metadata Headers) {
	if !c.mustBeOpen("GRPCCall.Close") {
		return
	}
	trailers := Headers{{"grpc-status", strconv.FormatUint(uint64(status), 10)}}
	if message != "" {
		trailers.add("grpc-message", percentEncode([]byte(message)))
	}
	trailers = append(trailers, metadata.normalized()...)
	c.end()
	if !c.started {
		c.arrive(func() { c.onHeaders(c.responseHeaders(trailers), true) })
	} else {
		c.arrive(func() { c.onTrailers(trailers) })
	}
}

// Reset cuts the call off, from the server's side. The gRPC status is 14 (unavailable) if no
// response headers have arrived, and else 13 (internal).
func (c *GRPCCall) Reset(reason ResetReason) {
	if c.mustBeOpen("GRPCCall.Reset") {
		c.onReset(reason)
	}
}

func (c *GRPCCall) onReset(reason ResetReason) {
	c.end()
	details := strings.ReplaceAll(string(reason), " ", "_")
	if c.started {
		c.arrive(func() { c.streamError(grpcInternal, "upstream_reset_after_response_started{"+details+"}") })
		return
	}
	if reason == ConnectionFailure {
		details += "|delayed_connect_error:_Connection_refused"
	}
	c.arrive(func() { c.onLocalReply(resetReply(reason), "upstream_reset_before_response_started{"+details+"}") })
}

// expire is the time-out.
func (c *GRPCCall) expire() {
	c.giveUp()
	if c.started {
		c.arrive(func() { c.streamError(grpcInternal, "response_timeout") })
	} else {
		c.arrive(func() { c.onLocalReply(timeoutReply, "response_timeout") })
	}
}

// startAnswer lets the response headers arrive, unless they have arrived.
func (c *GRPCCall) startAnswer() {
	if !c.started {
		c.RespondHeaders(nil)
	}
}

// arrive lets something happen at Envoy, as soon as the guest is not in a call. It comes to nothing
// if the guest has cancelled the call before.
func (c *GRPCCall) arrive(what func()) {
	c.vm.whenIdle(func() {
		if entry := c.root.grpc.calls[c.Token]; entry != nil && c.isAlive() {
			what()
		}
	})
}

// end is the end of the call by the server.
func (c *GRPCCall) end() {
	c.answered = true
	c.leave()
}

// giveUp is the end of the call by Envoy, unless the server has ended it.
func (c *GRPCCall) giveUp() {
	if !c.answered {
		c.cancelled = true
		c.leave()
	}
}

// The following functions are those of Envoy's gRPC client.
//
// Envoy: source/common/grpc/async_client_impl.cc. Measured on Envoy 1.40.

const viaUpstream = "via_upstream"

func (c *GRPCCall) onHeaders(headers Headers, endOfStream bool) {
	status, _ := headers.Get(":status")
	_, hasStatus := headers.Get("grpc-status")
	shown := Headers{}
	if !endOfStream && status == "200" {
		if shown = headers; c.guestDone {
			shown.replace("x-envoy-upstream-service-time", strconv.FormatInt(c.upstreamTime(), 10))
		}
	}
	c.show("proxy_on_grpc_receive_initial_metadata", &c.root.grpc.initial, shown)
	switch {
	case endOfStream && (hasStatus || status == "200"):
		c.onTrailers(headers)
	case status != "200":
		c.streamError(uint32(grpcStatusOf(status)), viaUpstream)
	}
}

// onLocalReply is a reply of Envoy's router, in place of the server's.
func (c *GRPCCall) onLocalReply(message, details string) {
	c.showLocalReply(message)
	c.onRemoteClose(grpcUnavailable, message+"{"+details+"}")
}

func (c *GRPCCall) showLocalReply(message string) {
	c.show("proxy_on_grpc_receive_initial_metadata", &c.root.grpc.initial, Headers{})
	c.show("proxy_on_grpc_receive_trailing_metadata", &c.root.grpc.trailing, Headers{
		{":status", "200"}, {"content-type", "application/grpc"},
		{"grpc-status", strconv.Itoa(grpcUnavailable)}, {"grpc-message", percentEncode([]byte(message))},
	})
}

func (c *GRPCCall) onMessage(message []byte) {
	if !c.Streaming {
		c.answer = &message
		return
	}
	c.showMessage(message)
}

func (c *GRPCCall) onTrailers(trailers Headers) {
	c.show("proxy_on_grpc_receive_trailing_metadata", &c.root.grpc.trailing, trailers)
	status, message := uint32(grpcUnknown), viaUpstream
	if text, ok := trailers.Get("grpc-status"); ok {
		n, err := strconv.ParseUint(text, 10, 32)
		if status = uint32(n); err != nil || n > maxGRPCStatus {
			status = 0xffffffff // Envoy's InvalidCode
		}
	}
	if text, _ := trailers.Get("grpc-message"); text != "" {
		message = text + "{" + viaUpstream + "}"
	}
	c.onRemoteClose(status, message)
}

// streamError ends a call that breaks the rules of gRPC or breaks off.
func (c *GRPCCall) streamError(status uint32, message string) {
	c.giveUp()
	c.show("proxy_on_grpc_receive_trailing_metadata", &c.root.grpc.trailing, Headers{})
	c.onRemoteClose(status, message)
}

// onRemoteClose calls on_grpc_close, or on_grpc_receive for a call that succeeded. The guest may
// have cancelled the stream when it was shown the trailing metadata.
func (c *GRPCCall) onRemoteClose(status uint32, message string) {
	entry := c.root.grpc.calls[c.Token]
	if entry == nil {
		return
	}
	entry.closed = true
	switch {
	case c.Streaming:
		c.showClose(status, message)
	case status != grpcOk:
		c.showClose(status, message)
	case c.answer == nil:
		c.showClose(grpcInternal, "")
	default:
		c.showMessage(*c.answer)
	}
}

// show calls a callback of streams that shows metadata. The guest can read them until everything
// that the callback deferred has happened.
//
// Envoy: context.cc, onGrpcReceiveInitialMetadataWrapper.
func (c *GRPCCall) show(callback string, at **Headers, metadata Headers) {
	if !c.Streaming || c.root.grpc.calls[c.Token] == nil {
		return
	}
	*at = &metadata
	arguments := []uint64{uint64(c.root.id), uint64(c.Token), uint64(len(metadata))}
	if c.vm.current != nil {
		c.vm.reenter(c.root, callback, arguments...)
	} else {
		c.vm.callback(c.root, callback, arguments...)
	}
	*at = nil
}

// showMessage calls on_grpc_receive. The message is gone before anything happens that the callback
// deferred, and so is a call.
//
// Envoy: context.cc, onGrpcReceiveWrapper.
func (c *GRPCCall) showMessage(message []byte) {
	const callback = "proxy_on_grpc_receive"
	afterwards := func() {
		c.root.grpc.message = nil
		if !c.Streaming {
			delete(c.root.grpc.calls, c.Token)
		}
	}
	if c.root.grpc.calls[c.Token] == nil {
		return
	}
	if !c.vm.has(callback) {
		afterwards()
		return
	}
	c.root.grpc.message = &buffer{data: message}
	c.vm.deferred = append(c.vm.deferred, afterwards)
	c.vm.callback(c.root, callback, uint64(c.root.id), uint64(c.Token), uint64(len(message)))
}

// showClose calls on_grpc_close. It also does so for a call that never was: see vm.failGRPC.
//
// Envoy: context.cc, onGrpcCloseWrapper.
func (c *GRPCCall) showClose(status uint32, message string) {
	const callback = "proxy_on_grpc_close"
	afterwards := func() {
		c.root.statusMessage = ""
		if entry := c.root.grpc.calls[c.Token]; entry != nil && (!c.Streaming || entry.guestClosed) {
			delete(c.root.grpc.calls, c.Token)
		}
	}
	if !c.vm.has(callback) {
		afterwards()
		return
	}
	c.root.statusCode, c.root.statusMessage = status, message
	c.vm.deferred = append(c.vm.deferred, afterwards)
	c.vm.callback(c.root, callback, uint64(c.root.id), uint64(c.Token), uint64(status))
}

// A handler can answer a call, and a stream whose guest sends no more.
func (c *GRPCCall) servable() bool { return c.guestDone && !c.started }

// serve answers with what a handler answers, which must speak the protocol of gRPC: as grpc.Server
// does, for example.
func (c *GRPCCall) serve(handler http.Handler) {
	var body []byte
	for _, m := range c.received {
		body = append(binary.BigEndian.AppendUint32(append(body, 0), uint32(len(m))), m...)
	}
	r, err := newRequest(c.Headers, nil, bytes.NewReader(body), -1)
	if err != nil {
		c.Close(12, err.Error(), nil)
		return
	}
	headers, body, trailers, aborted := runHandler(handler, r, c.world.realTime())
	if headers == nil {
		c.Reset(RemoteReset)
		return
	}
	c.started = true
	if len(body) == 0 && trailers == nil && !aborted {
		c.end()
		c.arrive(func() { c.onHeaders(headers, true) })
		return
	}
	headers.remove("content-length")
	c.arrive(func() { c.onHeaders(headers, false) })
	for len(body) > 0 && !c.Done() {
		message, rest, ok := nextFrame(body)
		if !ok {
			c.arrive(func() { c.streamError(grpcInternal, viaUpstream) })
			return
		}
		body = rest
		c.arrive(func() { c.onMessage(message) })
	}
	switch {
	case c.Done():
	case aborted:
		c.onReset(RemoteReset)
	case trailers == nil:
		c.arrive(func() { c.streamError(grpcUnknown, viaUpstream) })
	default:
		c.end()
		c.arrive(func() { c.onTrailers(trailers) })
	}
}

// nextFrame reads a message of gRPC. Envoy takes no compressed ones.
func nextFrame(b []byte) (message, rest []byte, ok bool) {
	if len(b) < 5 || uint64(len(b)-5) < uint64(binary.BigEndian.Uint32(b[1:])) {
		return nil, nil, false
	}
	size := binary.BigEndian.Uint32(b[1:])
	if b[0] != 0 && size > 0 || b[0] > 1 {
		return nil, nil, false
	}
	return bytes.Clone(b[5 : 5+size]), b[5+size:], true
}

// grpcTimeout writes a time-out as the header grpc-timeout has it: in milliseconds, or in the next
// unit if that takes more than eight digits.
//
// Envoy: source/common/grpc/common.cc, toGrpcTimeout.
func grpcTimeout(d time.Duration) string {
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"m", time.Millisecond}, {"S", time.Second}, {"M", time.Minute}} {
		if n := d / unit.size; n <= 99_999_999 {
			return fmt.Sprint(int64(n), unit.name)
		}
	}
	return fmt.Sprint(int64(d/time.Hour), "H")
}

// send is proxy_grpc_send. After the guest's half or the server has ended, the message goes
// nowhere.
func (c *GRPCCall) send(message []byte, end bool) {
	if !c.Done() && !c.guestDone {
		c.received = append(c.received, slices.Clone(message))
		c.guestDone = end
	}
}
