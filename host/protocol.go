package host

import "fmt"

// Protocol is the HTTP version that the client of a stream uses.
type Protocol int

// The protocols. A stream uses HTTP/1.1 unless [Stream.SetProtocol] says otherwise. A filter cannot
// tell HTTP/1.1 from HTTP/2 by its callbacks, but HTTP/3 differs: see SetProtocol.
const (
	HTTP1 Protocol = iota + 1
	HTTP2
	HTTP3
)

// String returns the protocol as the property request.protocol does.
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

// SetProtocol sets the HTTP version of the stream's client. Call it before RequestHeaders.
//
// Over HTTP/3 a stream that ends in an orderly way gets on_done and on_delete, but never on_log. It
// does so if both the request and the response, or a local reply, are complete. All other ends call
// on_log first, as with HTTP/1.1 and HTTP/2: a reset by the client, by the filter, or because the
// connection closed, and also a complete response to an incomplete request, after which Envoy
// resets the rest of the request.
//
// Filters on proxy-wasm-go-sdk learn of a stream's end only from on_log, so nothing tells them of
// these ends. The context is gone at once: proxy_set_effective_context returns BadArgument for it.
//
// Over HTTP/3 Envoy crashes if a filter resets a stream that has ended or is being reset: with a
// second proxy_close_stream in one callback, or with one in on_done or on_delete. Here the VM
// fails.
//
// Envoy: source/common/http/conn_manager_impl.cc, doDeferredStreamDestroy, leaves the logging to
// the QUIC stream, which logs when the client has acknowledged everything. It uses a copy of the
// list of access loggers that setRequestDecoder in source/common/quic/envoy_quic_server_stream.h
// makes before the filters exist, so no filter is in it. Measured on Envoy 1.36, 1.38 and 1.40.
func (s *Stream) SetProtocol(p Protocol) { s.protocol = p }

// isLogged reports whether on_log is called for this end.
func (s *Stream) isLogged(how Ending) bool {
	return s.protocol != HTTP3 || how != Completed || !s.request.ended
}
