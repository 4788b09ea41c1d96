package host

func httpCallFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_http_call", signature: "iiiiiiiiii->i", run: proxyHTTPCall, describe: describeKey},
		{name: "proxy_get_status", signature: "iii->i", run: proxyGetStatus},
		{name: "envoy_resolve_dns", signature: "iii->i", run: envoyResolveDNS},
	}
}

// proxyHTTPCall is proxy_http_call. There are no clusters yet.
//
// Parameters: cluster pointer, cluster size, headers pointer, headers size, body pointer, body
// size, trailers pointer, trailers size, time-out in milliseconds, where to write the token.
//
//   - InvalidMemoryAccess: an argument is out of bounds, or the token cannot be written
//   - BadArgument: there is no such cluster
//
// cpp-host: src/exports.cc, http_call; Envoy: context.cc, httpCall.
func proxyHTTPCall(v *vm, a args) uint32 {
	for i := range 4 {
		if _, ok := v.view(a.u32(2*i), a.u32(2*i+1)); !ok {
			return uint32(StatusInvalidMemoryAccess)
		}
	}
	if !v.putUint32(a.u32(9), 0) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusBadArgument)
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
