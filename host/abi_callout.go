package host

import (
	"strconv"
	"time"
)

func httpCallFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_http_call", params: "cluster:string headers:map body:bytes trailers:map timeout:i32 token@u32", run: proxyHTTPCall},
		{name: "proxy_get_status", params: "code@u32 message@bytes", run: proxyGetStatus},
		{name: "envoy_resolve_dns", params: "name:string token@u32", run: envoyResolveDNS},
	}
}

// proxyHTTPCall is proxy_http_call. It sends a request to a cluster, on behalf of the caller's
// plugin even if a stream calls it: the answer arrives in on_http_call_response of the plugin's
// context. Envoy adds a content-length if there is a body.
//
// Parameters: cluster pointer, cluster size, headers pointer, headers size, body pointer, body
// size, trailers pointer, trailers size (maps as in decodePairs), time-out in milliseconds (0:
// none), where to write the token. The token is 0 unless the status is Ok.
//
//   - InvalidMemoryAccess: an argument is out of bounds, or the token cannot be written
//   - BadArgument: the time-out is negative, there is no such cluster, or :path, :method or
//     :authority is missing
//   - InternalFailure: the cluster has no endpoints. Nothing is sent, and on_http_call_response is
//     not called
//
// cpp-host: src/exports.cc, http_call; Envoy: context.cc, httpCall. Measured on Envoy 1.40.
func proxyHTTPCall(v *vm, a args) uint32 {
	cluster, okCluster := v.readString(a.u32(0), a.u32(1))
	headers, okHeaders := v.view(a.u32(2), a.u32(3))
	body, okBody := v.readBytes(a.u32(4), a.u32(5))
	trailers, okTrailers := v.view(a.u32(6), a.u32(7))
	if !okCluster || !okHeaders || !okBody || !okTrailers {
		return uint32(StatusInvalidMemoryAccess)
	}
	call := &HTTPCall{Headers: decodePairs(headers).normalized(), Body: body, Trailers: decodePairs(trailers).normalized()}
	if !v.putUint32(a.u32(9), 0) {
		return uint32(StatusInvalidMemoryAccess)
	}
	handler, ok := v.world.network.clusters[cluster]
	timeout := int32(a.u32(8))
	if timeout < 0 || !ok || !call.Headers.has(":path", ":method", ":authority") {
		return uint32(StatusBadArgument)
	}
	call.callout = v.newCallout(httpCallToken, cluster, time.Duration(timeout)*time.Millisecond)
	if handler == NoEndpoints {
		return uint32(StatusInternalFailure)
	}
	if len(body) > 0 {
		call.Headers.replace("content-length", strconv.Itoa(len(body)))
	}
	v.world.network.open = append(v.world.network.open, call)
	v.putUint32(a.u32(9), call.Token)
	return uint32(StatusOk)
}

// proxyGetStatus is proxy_get_status, which tells why a callout failed. It returns the status and
// the message of the plugin's newest failed callout. The message is there only during the callback
// that reports the failure; the status stays.
//
// Parameters: where to write the status, where to write the message's pointer, where to write its
// size.
//
//   - InvalidMemoryAccess: a result cannot be written
//
// cpp-host: src/exports.cc, get_status; Envoy: context.cc, getStatus.
func proxyGetStatus(v *vm, a args) uint32 {
	c := v.context().root()
	if !v.putUint32(a.u32(0), c.statusCode) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(v.copyToGuest([]byte(c.statusMessage), a.u32(1), a.u32(2)))
}

// envoyResolveDNS is envoy_resolve_dns. The virtual network has no name server, so
// envoy_on_resolve_dns is never called.
//
// Parameters: name pointer, name size, where to write the token.
//
//   - InvalidMemoryAccess: the name is out of bounds, or the token cannot be written
//
// Envoy: wasm.cc, resolve_dns.
func envoyResolveDNS(v *vm, a args) uint32 {
	if _, ok := v.view(a.u32(0), a.u32(1)); !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	v.dnsToken++
	if !v.putUint32(a.u32(2), v.dnsToken) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}
