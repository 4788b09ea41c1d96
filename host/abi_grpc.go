package host

import (
	"net/http"
	"time"
)

func grpcFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_grpc_call", params: "service:bytes service_name:bytes method:bytes metadata:map message:bytes timeout:u32 token@u32", run: proxyGRPCCall, key: grpcServiceKey},
		{name: "proxy_grpc_stream", params: "service:bytes service_name:bytes method:bytes metadata:map token@u32", run: proxyGRPCStream, key: grpcServiceKey},
		{name: "proxy_grpc_send", params: "token:u32 message:bytes end_of_stream:u32", run: proxyGRPCSend},
		{name: "proxy_grpc_close", params: "token:u32", run: proxyGRPCClose},
		{name: "proxy_grpc_cancel", params: "token:u32", run: proxyGRPCCancel},
	}
}

// The two low bits of a callout's token tell its kind.
//
// cpp-host: include/proxy-wasm/wasm.h, CalloutType.
const (
	httpCallToken   = 0
	grpcCallToken   = 1
	grpcStreamToken = 2
	tokenKindMask   = 3
)

func grpcServiceKey(v *vm, a args) string {
	b, _ := v.view(a.u32(0), a.u32(1))
	if s, ok := parseGRPCService(b); ok {
		return s.cluster
	}
	return string(b)
}

// proxyGRPCCall is proxy_grpc_call, which sends one message and gets one back. Like proxy_http_call
// it belongs to the caller's plugin. The service is a message envoy.config.core.v3.GrpcService, or,
// if it is no message, the name of a cluster. The time-out is 0 for none.
//
// Parameters: service pointer, service size, service name pointer, service name size, method name
// pointer, method name size, initial metadata pointer, initial metadata size (a map as in
// decodePairs), message pointer, message size, time-out in milliseconds, where to write the token,
// which is written only if the status is Ok.
//
//   - InvalidMemoryAccess: an argument is out of bounds; or the token cannot be written, and then
//     the call is made all the same
//   - ParseFailure: the service is neither a message nor the name of a cluster
//   - InternalFailure: there is no cluster of the name in the message, or it has no endpoints. The
//     guest is also told by on_grpc_close, with a token that it has not got
//   - BadArgument: the target is google_grpc, which this host lacks
//
// A message without a target makes Envoy crash. Here the VM fails.
//
// cpp-host: src/exports.cc, grpc_call; Envoy: context.cc, grpcCall. Measured on Envoy 1.40.
func proxyGRPCCall(v *vm, a args) uint32 {
	message, ok := v.readBytes(a.u32(8), a.u32(9))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	timeout := time.Duration(a.u32(10)) * time.Millisecond
	return uint32(v.startGRPC(a, a.u32(11), grpcCallToken, timeout, func(c *GRPCCall) { c.send(message, true) }))
}

// proxyGRPCStream is proxy_grpc_stream, which opens a stream of messages in both directions.
//
// Parameters: those of proxy_grpc_call without message and time-out. So are the statuses. If a
// cluster has no endpoints, Envoy calls on_grpc_receive_initial_metadata and
// on_grpc_receive_trailing_metadata in the middle of this call: see vm.reenter.
//
// cpp-host: src/exports.cc, grpc_stream; Envoy: context.cc, grpcStream. Measured on Envoy 1.40.
func proxyGRPCStream(v *vm, a args) uint32 {
	return uint32(v.startGRPC(a, a.u32(8), grpcStreamToken, 0, func(c *GRPCCall) { c.Streaming = true }))
}

func (v *vm) startGRPC(a args, tokenAt, kind uint32, timeout time.Duration, prepare func(*GRPCCall)) Status {
	service, okService := v.readBytes(a.u32(0), a.u32(1))
	name, okName := v.readString(a.u32(2), a.u32(3))
	method, okMethod := v.readString(a.u32(4), a.u32(5))
	metadata, okMetadata := v.view(a.u32(6), a.u32(7))
	if !okService || !okName || !okMethod || !okMetadata {
		return StatusInvalidMemoryAccess
	}
	guestMetadata := decodePairs(metadata).normalized()
	target, ok := parseGRPCService(service)
	if !ok {
		if _, known := v.world.network.clusters[string(service)]; !known {
			return StatusParseFailure
		}
		target = grpcService{cluster: string(service), isEnvoy: true}
	}
	c := &GRPCCall{callout: v.newCallout(kind, target.cluster, timeout), Service: name, Method: method}
	switch prepare(c); {
	case target.isGoogle:
		return StatusBadArgument
	case !target.isEnvoy:
		v.pendingTrap = "a GrpcService without a target: Envoy crashes here"
		return StatusInternalFailure
	}
	c.Headers = grpcRequestHeaders(target, c)
	c.Headers = append(c.Headers, guestMetadata...)
	handler, known := v.world.network.clusters[target.cluster]
	if !known || handler == NoEndpoints {
		return v.failGRPC(c, handler)
	}
	if c.root.grpc.calls == nil {
		c.root.grpc.calls = make(map[uint32]*grpcEntry)
	}
	c.root.grpc.calls[c.Token] = &grpcEntry{call: c}
	v.world.network.open = append(v.world.network.open, c)
	if !v.putUint32(tokenAt, c.Token) {
		return StatusInvalidMemoryAccess
	}
	return StatusOk
}

// grpcRequestHeaders returns the request headers without the guest's metadata.
//
// Envoy: source/common/grpc/common.cc, prepareHeaders.
func grpcRequestHeaders(target grpcService, c *GRPCCall) Headers {
	authority := target.authority
	if authority == "" {
		authority = target.cluster
	}
	h := Headers{{":method", "POST"}, {":path", "/" + c.Service + "/" + c.Method}, {":authority", authority}}
	if !c.Streaming {
		h.add("grpc-timeout", grpcTimeout(c.Timeout))
	}
	h = append(h, Header{"te", "trailers"}, Header{"content-type", "application/grpc"})
	return append(h, target.metadata...)
}

// failGRPC is a call or stream that cannot be started.
func (v *vm) failGRPC(c *GRPCCall, cluster http.Handler) Status {
	message := "Cluster not available"
	if cluster == NoEndpoints {
		const text, details = "no healthy upstream", "no_healthy_upstream"
		message = text + "{" + details + "}"
		if c.Streaming {
			calls := c.root.grpc.calls
			c.root.grpc.calls = map[uint32]*grpcEntry{c.Token: {call: c}}
			c.showLocalReply(text)
			c.root.grpc.calls = calls
		}
	}
	v.whenIdle(func() {
		if c.isAlive() {
			c.showClose(grpcUnavailable, message)
		}
	})
	return StatusInternalFailure
}

// proxyGRPCSend is proxy_grpc_send. A message that comes too late, because the server has ended the
// stream or the guest has closed its half, is lost without an error.
//
// Parameters: token, message pointer, message size, whether the guest's half ends (0 or not 0).
//
//   - InvalidMemoryAccess: the message is out of bounds
//   - BadArgument: the token is not that of a stream
//   - NotFound: there is no such stream
//
// cpp-host: src/exports.cc, grpc_send; Envoy: context.cc, grpcSend.
func proxyGRPCSend(v *vm, a args) uint32 {
	message, ok := v.view(a.u32(1), a.u32(2))
	switch {
	case !ok:
		return uint32(StatusInvalidMemoryAccess)
	case a.u32(0)&tokenKindMask != grpcStreamToken:
		return uint32(StatusBadArgument)
	}
	entry := v.context().root().grpc.calls[a.u32(0)]
	if entry == nil {
		return uint32(StatusNotFound)
	}
	entry.call.send(message, a.u32(3) != 0)
	return uint32(StatusOk)
}

// proxyGRPCClose is proxy_grpc_close. It ends the guest's half of a stream, and cancels a call.
// After both sides have closed a stream, its token is gone.
//
// Parameters: token.
//
//   - BadArgument: the token is not one of gRPC
//   - NotFound: there is no such call or stream
//
// cpp-host: src/exports.cc, grpc_close; Envoy: context.cc, grpcClose.
func proxyGRPCClose(v *vm, a args) uint32 {
	if a.u32(0)&tokenKindMask != grpcStreamToken {
		return proxyGRPCCancel(v, a)
	}
	calls := v.context().root().grpc.calls
	entry := calls[a.u32(0)]
	if entry == nil {
		return uint32(StatusNotFound)
	}
	entry.guestClosed, entry.call.guestDone = true, true
	if entry.closed {
		delete(calls, a.u32(0))
	}
	return uint32(StatusOk)
}

// proxyGRPCCancel is proxy_grpc_cancel, which resets a call or a stream. The guest hears no more of
// it. Parameters and statuses are those of proxy_grpc_close.
//
// cpp-host: src/exports.cc, grpc_cancel; Envoy: context.cc, grpcCancel.
func proxyGRPCCancel(v *vm, a args) uint32 {
	token := a.u32(0)
	if kind := token & tokenKindMask; kind != grpcCallToken && kind != grpcStreamToken {
		return uint32(StatusBadArgument)
	}
	calls := v.context().root().grpc.calls
	entry := calls[token]
	if entry == nil {
		return uint32(StatusNotFound)
	}
	delete(calls, token)
	entry.call.giveUp()
	return uint32(StatusOk)
}
