package host

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The addresses of the world's Envoy, as the attributes show them. The client's port is different
// for each connection.
const (
	clientAddress        = "127.0.0.1"
	firstClientPort      = 49152
	listenerAddress      = "127.0.0.1"
	listenerPort         = 10000
	upstreamAddress      = "127.0.0.1"
	upstreamPort         = 8080
	upstreamLocalAddress = "127.0.0.1:32768"
	upstreamCluster      = "upstream"
)

// An attribute returns the value of a property, or false if the context does not have it now.
type attribute func(v *vm, c *vmContext) ([]byte, bool)

// attributes are the attributes that Envoy's documentation lists, by path, without those that need
// TLS or metadata: those are never there, unless the test supplies them. A string is its bytes; an
// integer and a duration are 64 bits, little-endian; a boolean is one byte; a map is as in
// encodePairs; a message is in the format of Protocol Buffers. Route, cluster and listener are
// those of an Envoy with one of each, without metadata.
//
// Envoy: source/extensions/filters/common/expr/context.cc; docs, "Attributes". Measured on
// Envoy 1.40.
var attributes = withPaths(map[string]attribute{
	"plugin_name":    ofPlugin(func(p Plugin) string { return p.Name }),
	"plugin_root_id": ofPlugin(func(p Plugin) string { return p.RootID }),
	"plugin_vm_id":   func(v *vm, _ *vmContext) ([]byte, bool) { return []byte(v.world.config.VMID), true },

	"request.time":          ofSession(func(s *session) ([]byte, bool) { return int64Property(s.opened.UnixNano()), true }),
	"request.protocol":      ofStream(func(s *Stream) ([]byte, bool) { return []byte(s.protocol.String()), true }),
	"request.headers":       ofMap(mapRequestHeaders, allHeaders),
	"request.headers_bytes": ofMap(mapRequestHeaders, headersBytes),
	"request.size":          requestSize,
	"request.total_size":    requestTotalSize,
	"request.duration": ofStream(func(s *Stream) ([]byte, bool) {
		return durationProperty(s.closed.Sub(s.opened)), s.ended
	}),
	"request.path":      requestHeader(":path"),
	"request.method":    requestHeader(":method"),
	"request.host":      requestHeader(":authority"),
	"request.scheme":    requestHeader(":scheme"),
	"request.referer":   requestHeader("referer"),
	"request.useragent": requestHeader("user-agent"),
	"request.id":        requestHeader("x-request-id"),
	"request.url_path":  requestPath(func(path, _ string) string { return path }),
	"request.query":     requestPath(func(_, query string) string { return query }),

	"response.code":            ofStream((*Stream).codeAttribute),
	"response.code_details":    ofStream(func(s *Stream) ([]byte, bool) { return []byte(s.details), s.details != "" }),
	"response.flags":           ofSession(flagsAttribute),
	"response.grpc_status":     ofStream((*Stream).grpcStatusAttribute),
	"response.headers":         ofMap(mapResponseHeaders, allHeaders),
	"response.headers_bytes":   ofMap(mapResponseHeaders, headersBytes),
	"response.trailers":        ofMap(mapResponseTrailers, allHeaders),
	"response.size":            responseSize,
	"response.total_size":      responseTotalSize,
	"response.backend_latency": ofStream((*Stream).backendLatencyAttribute),

	"source.address":      ofSession(func(s *session) ([]byte, bool) { return fmt.Appendf(nil, "%s:%d", clientAddress, s.clientPort()), true }),
	"source.port":         ofSession(func(s *session) ([]byte, bool) { return int64Property(s.clientPort()), true }),
	"destination.address": ofSession(func(*session) ([]byte, bool) { return fmt.Appendf(nil, "%s:%d", listenerAddress, listenerPort), true }),
	"destination.port":    ofSession(func(*session) ([]byte, bool) { return int64Property(listenerPort), true }),

	"connection.id":                    ofSession(func(s *session) ([]byte, bool) { return int64Property(int64(s.connectionID)), true }),
	"connection.mtls":                  ofSession(func(*session) ([]byte, bool) { return []byte{0}, true }),
	"connection.requested_server_name": ofSession(isEmpty),
	"connection_id":                    ofSession(func(s *session) ([]byte, bool) { return int64Property(int64(s.connectionID)), true }),

	"upstream.address":                  ofUpstream(fmt.Sprintf("%s:%d", upstreamAddress, upstreamPort)),
	"upstream.port":                     ofUpstream(string(int64Property(upstreamPort))),
	"upstream.local_address":            ofUpstream(upstreamLocalAddress),
	"upstream.locality":                 ofUpstream(""),
	"upstream.transport_failure_reason": ofUpstream(""),
	"upstream.cx_pool_ready_duration":   ofUpstream(string(int64Property(0))),
	"upstream.request_attempt_count": ofSession(func(s *session) ([]byte, bool) {
		stream := s.stream()
		return int64Property(int64(boolUint64(stream == nil || !stream.requestSent.IsZero()))), true
	}),
	"upstream.num_endpoints": ofSession(func(*session) ([]byte, bool) { return int64Property(1), true }),

	"metadata":                       ofSession(isEmpty),
	"metadata.filter_metadata":       ofSession(isEmptyMap),
	"metadata.typed_filter_metadata": ofSession(isEmptyMap),

	"xds.node":                  isEmptyAnywhere,
	"xds.node.id":               isEmptyAnywhere,
	"xds.cluster_name":          ofSession(func(*session) ([]byte, bool) { return []byte(upstreamCluster), true }),
	"xds.cluster_metadata":      ofSession(isEmpty),
	"xds.route_name":            ofStream(isEmptyForStreams),
	"xds.route_metadata":        ofStream(isEmptyForStreams),
	"xds.virtual_host_name":     ofStream(func(*Stream) ([]byte, bool) { return []byte("all"), true }),
	"xds.virtual_host_metadata": ofStream(isEmptyForStreams),
	"xds.filter_chain_name":     ofSession(isEmpty),
	"xds.listener_direction":    ofSession(func(*session) ([]byte, bool) { return int64Property(0), true }),
	"xds.listener_metadata":     ofSession(isEmpty),
})

// withPaths replaces the points in the names of attributes by NULs.
func withPaths(byName map[string]attribute) map[string]attribute {
	byPath := make(map[string]attribute, len(byName))
	for name, a := range byName {
		byPath[strings.ReplaceAll(name, ".", "\x00")] = a
	}
	return byPath
}

// isGroup reports whether a path names a group of attributes in this context, or a value that
// cannot be serialized.
func isGroup(c *vmContext, path string) bool {
	switch path {
	case "xds":
		return true
	case "request", "response", "source", "destination", "connection", "upstream", "filter_state":
		return c.session != nil
	case "upstream_filter_state", "xds\x00upstream_host_metadata", "xds\x00upstream_host_locality_metadata":
		return c.session != nil && c.session.hasUpstream()
	}
	return false
}

func ofPlugin(value func(p Plugin) string) attribute {
	return func(_ *vm, c *vmContext) ([]byte, bool) {
		if c.root().plugin == nil { // the VM's own context
			return nil, true
		}
		return []byte(value(c.root().plugin.Plugin)), true
	}
}

func ofSession(value func(s *session) ([]byte, bool)) attribute {
	return func(_ *vm, c *vmContext) ([]byte, bool) {
		if c.session == nil {
			return nil, false
		}
		return value(c.session)
	}
}

func ofStream(value func(s *Stream) ([]byte, bool)) attribute {
	return func(_ *vm, c *vmContext) ([]byte, bool) {
		if c.stream == nil {
			return nil, false
		}
		return value(c.stream)
	}
}

// ofMap is an attribute of a header map that the guest can reach now. A map that it cannot reach is
// nil.
func ofMap(kind uint32, value func(h *Headers) []byte) attribute {
	return func(_ *vm, c *vmContext) ([]byte, bool) {
		if c.session == nil {
			return nil, false
		}
		return value(c.streamMap(kind)), true
	}
}

// ofUpstream is an attribute of the connection to the upstream.
func ofUpstream(value string) attribute {
	return ofSession(func(s *session) ([]byte, bool) { return []byte(value), s.hasUpstream() })
}

// streamMap returns a header map of the stream that the guest can reach now, or nil.
func (c *vmContext) streamMap(kind uint32) *Headers {
	if c.stream == nil {
		return nil
	}
	return c.stream.readableMap(kind)
}

func isEmpty(*session) ([]byte, bool)                { return nil, true }
func isEmptyMap(*session) ([]byte, bool)             { return encodePairs(nil), true }
func isEmptyForStreams(*Stream) ([]byte, bool)       { return nil, true }
func isEmptyAnywhere(*vm, *vmContext) ([]byte, bool) { return nil, true }

func allHeaders(h *Headers) []byte {
	if h == nil {
		return encodePairs(nil)
	}
	return encodePairs(*h)
}

func headersBytes(h *Headers) []byte {
	if h == nil {
		return int64Property(0)
	}
	return int64Property(int64(h.byteSize()))
}

// requestHeader is an attribute that is the value of a request header.
func requestHeader(name string) attribute {
	return func(_ *vm, c *vmContext) ([]byte, bool) {
		h := c.streamMap(mapRequestHeaders)
		if h == nil {
			return nil, false
		}
		value, ok := h.Get(name)
		return []byte(value), ok
	}
}

// requestPath is an attribute that is a part of the path: what stands before the first question
// mark, or what stands behind it and before a number sign.
func requestPath(part func(path, query string) string) attribute {
	return func(_ *vm, c *vmContext) ([]byte, bool) {
		h := c.streamMap(mapRequestHeaders)
		if h == nil {
			return nil, false
		}
		whole, _ := h.Get(":path")
		path, query, _ := strings.Cut(whole, "?")
		query, _, _ = strings.Cut(query, "#")
		return []byte(part(path, query)), true
	}
}

// headerProperty returns a header by the path "request", "headers" and its name, or the same of
// "response" with "headers" or "trailers". Several values of one name are joined by commas.
func (c *vmContext) headerProperty(path string) ([]byte, bool) {
	for prefix, kind := range map[string]uint32{
		"request\x00headers\x00": mapRequestHeaders, "response\x00headers\x00": mapResponseHeaders, "response\x00trailers\x00": mapResponseTrailers,
	} {
		if name, ok := strings.CutPrefix(path, prefix); ok {
			h := c.streamMap(kind)
			if h == nil {
				return nil, false
			}
			values := h.Values(name)
			return []byte(strings.Join(values, ",")), len(values) > 0
		}
	}
	return nil, false
}

// requestSize is the content-length, if the guest can reach the headers and they have one.
// Otherwise it is what has arrived of the body.
func requestSize(_ *vm, c *vmContext) ([]byte, bool) {
	if c.session == nil {
		return nil, false
	}
	if h := c.streamMap(mapRequestHeaders); h != nil {
		if text, ok := h.Get("content-length"); ok {
			length, err := strconv.ParseInt(text, 10, 64)
			return int64Property(length), err == nil
		}
	}
	return int64Property(c.session.bytesReceived()), true
}

func requestTotalSize(_ *vm, c *vmContext) ([]byte, bool) {
	if c.session == nil {
		return nil, false
	}
	return int64Property(c.session.bytesReceived() + mapBytes(c.streamMap(mapRequestHeaders))), true
}

func responseSize(_ *vm, c *vmContext) ([]byte, bool) {
	if c.session == nil {
		return nil, false
	}
	return int64Property(c.session.bytesSent()), true
}

func responseTotalSize(_ *vm, c *vmContext) ([]byte, bool) {
	if c.session == nil {
		return nil, false
	}
	return int64Property(c.session.bytesSent() + mapBytes(c.streamMap(mapResponseHeaders)) + mapBytes(c.streamMap(mapResponseTrailers))), true
}

func mapBytes(h *Headers) int64 {
	if h == nil {
		return 0
	}
	return int64(h.byteSize())
}

// bytesReceived returns how much of the request body, or of the client's data, has arrived.
func (s *session) bytesReceived() int64 {
	switch {
	case s.context.stream != nil:
		return s.context.stream.request.received
	default:
		return s.context.connection.downstream.received
	}
}

// bytesSent returns how much of the response body, or of the data for the client, has gone on.
func (s *session) bytesSent() int64 {
	switch {
	case s.context.stream != nil:
		return int64(len(s.context.stream.response.out.Body))
	default:
		return int64(len(s.context.connection.upstream.out))
	}
}

func (s *session) stream() *Stream { return s.context.stream }

func (s *session) clientPort() int64 { return firstClientPort + int64(s.connectionID)%10000 }

// hasUpstream reports whether Envoy has a connection to the upstream, as far as the filter can see:
// for a stream when the response arrives, for a connection as soon as it is read.
func (s *session) hasUpstream() bool {
	if stream := s.stream(); stream != nil {
		return stream.viaUpstream
	}
	return s.context.connection.reading
}

func (s *Stream) codeAttribute() ([]byte, bool) {
	code, ok := s.responseCode()
	return int64Property(int64(code)), ok
}

func (s *Stream) responseCode() (code int, ok bool) {
	status, _ := s.response.headers.Get(":status")
	code, err := strconv.Atoi(status)
	return code, err == nil
}

// grpcStatusAttribute is the status in the trailers or headers, or the one that belongs to the HTTP
// status.
//
// Envoy: source/common/grpc/common.cc, getGrpcStatus.
func (s *Stream) grpcStatusAttribute() ([]byte, bool) {
	for _, kind := range []uint32{mapResponseTrailers, mapResponseHeaders} {
		if h := s.readableMap(kind); h != nil {
			if text, ok := h.Get("grpc-status"); ok {
				status, err := strconv.ParseUint(text, 10, 32)
				if err != nil {
					return int64Property(-1), true
				}
				return int64Property(int64(status)), true
			}
		}
	}
	_, ok := s.responseCode()
	status, _ := s.response.headers.Get(":status")
	return int64Property(int64(grpcStatusOf(status))), ok
}

// The flags of an access log that can occur here.
//
// Envoy: envoy/stream_info/stream_info.h, LegacyResponseFlag.
const flagDownstreamTermination = 0x4000

func flagsAttribute(s *session) ([]byte, bool) {
	if stream := s.stream(); stream != nil && stream.ending == Disconnected {
		return int64Property(flagDownstreamTermination), true
	}
	return int64Property(0), true
}

// backendLatencyAttribute is the time from the first byte of the request to the upstream until the
// last byte of the response.
func (s *Stream) backendLatencyAttribute() ([]byte, bool) {
	return durationProperty(s.responseArrived.Sub(s.requestSent)), s.viaUpstream && !s.responseArrived.IsZero() && !s.requestSent.IsZero()
}

func int64Property(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

func durationProperty(d time.Duration) []byte { return int64Property(int64(d)) }
