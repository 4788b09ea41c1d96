package host

import "fmt"

// Protocol is what the client of a stream speaks.
type Protocol int

// The protocols. A stream is over HTTP/1.1 unless [Stream.SetProtocol] says otherwise. To a filter
// HTTP/1.1 and HTTP/2 are the same; HTTP/3 is not: see SetProtocol.
const (
	HTTP1 Protocol = iota + 1
	HTTP2
	HTTP3
)

// String returns the protocol as the property request.protocol has it.
func (p Protocol) String() string {
	switch p {
	case HTTP1:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	case HTTP3:
		return "HTTP/3"
	}
	return fmt.Sprintf("Protocol(%d)", int(p))
}

// SetProtocol says what the stream's client speaks. Call it before RequestHeaders.
//
// Over HTTP/3 a stream that ends in good order gets on_done and on_delete, and never on_log:
// neither before on_delete nor after it. It ends in good order if the request is complete, and the
// response or a local reply is. After a reset, by the client, by the filter, or because the
// connection is closed, on_log comes first, as over HTTP/1.1 and HTTP/2. It comes first, too, if
// the response is complete and the request is not: Envoy then resets what is left of the request.
//
// Filters on proxy-wasm-go-sdk learn of a stream's end in on_log alone, so nothing tells them of
// these ends. The context is gone at once: proxy_set_effective_context answers BadArgument for it.
//
// Over HTTP/3 Envoy crashes if a filter resets a stream that has ended or is being reset: by a
// second proxy_close_stream in one callback, or by one in on_done or on_delete. Here its VM fails.
//
// Envoy: source/common/http/conn_manager_impl.cc, doDeferredStreamDestroy, leaves the logging to
// the QUIC stream, which logs when the client has acknowledged everything. Its list of access
// loggers is a copy that setRequestDecoder in source/common/quic/envoy_quic_server_stream.h makes
// before the filters exist, so no filter is in it. Measured on 1.36, 1.38 and 1.40.
func (s *Stream) SetProtocol(p Protocol) { s.protocol = p }

// isLogged reports whether on_log is called at an end.
func (s *Stream) isLogged(how Ending) bool {
	return s.protocol != HTTP3 || how != Completed || !s.request.ended
}
