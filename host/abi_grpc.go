package host

func grpcFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_grpc_call", signature: "iiiiiiiiiiii->i", run: proxyGRPCCall, describe: describeKey},
		{name: "proxy_grpc_stream", signature: "iiiiiiiii->i", run: proxyGRPCStream, describe: describeKey},
		{name: "proxy_grpc_send", signature: "iiii->i", run: proxyGRPCSend},
		{name: "proxy_grpc_close", signature: "i->i", run: proxyGRPCEnd},
		{name: "proxy_grpc_cancel", signature: "i->i", run: proxyGRPCEnd},
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

// proxyGRPCCall is proxy_grpc_call. There are no clusters yet.
//
// Parameters: service pointer, service size, service name pointer, service name size, method name
// pointer, method name size, initial metadata pointer, initial metadata size, message pointer,
// message size, time-out in milliseconds, where to write the token.
//
//   - InvalidMemoryAccess: an argument is out of bounds
//   - ParseFailure: there is no such cluster
//
// cpp-host: src/exports.cc, grpc_call; Envoy: context.cc, grpcCall.
func proxyGRPCCall(v *vm, a args) uint32 { return uint32(v.grpcStart(a, 5)) }

// proxyGRPCStream is proxy_grpc_stream. Its parameters are those of proxy_grpc_call without message
// and time-out.
//
// cpp-host: src/exports.cc, grpc_stream; Envoy: context.cc, grpcStream.
func proxyGRPCStream(v *vm, a args) uint32 { return uint32(v.grpcStart(a, 4)) }

func (v *vm) grpcStart(a args, strings int) Status {
	for i := range strings {
		if _, ok := v.view(a.u32(2*i), a.u32(2*i+1)); !ok {
			return StatusInvalidMemoryAccess
		}
	}
	return StatusParseFailure
}

// proxyGRPCSend is proxy_grpc_send.
//
// Parameters: token, message pointer, message size, whether the guest's half ends.
//
//   - InvalidMemoryAccess: the message is out of bounds
//   - BadArgument: the token is not that of a stream
//   - NotFound: there is no such stream
//
// cpp-host: src/exports.cc, grpc_send; Envoy: context.cc, grpcSend.
func proxyGRPCSend(v *vm, a args) uint32 {
	switch _, ok := v.view(a.u32(1), a.u32(2)); {
	case !ok:
		return uint32(StatusInvalidMemoryAccess)
	case a.u32(0)&tokenKindMask != grpcStreamToken:
		return uint32(StatusBadArgument)
	}
	return uint32(StatusNotFound)
}

// proxyGRPCEnd is proxy_grpc_close and proxy_grpc_cancel.
//
// Parameters: token.
//
//   - BadArgument: the token is not one of gRPC
//   - NotFound: there is no such call or stream
//
// cpp-host: src/exports.cc; Envoy: context.cc, grpcClose and grpcCancel.
func proxyGRPCEnd(_ *vm, a args) uint32 {
	if kind := a.u32(0) & tokenKindMask; kind != grpcCallToken && kind != grpcStreamToken {
		return uint32(StatusBadArgument)
	}
	return uint32(StatusNotFound)
}
