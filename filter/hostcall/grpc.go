package hostcall

import (
	"encoding/binary"
	"unsafe"
)

// Calls of gRPC belong to the plugin context of the effective context, and outlive its streams.
// Their answers come to that plugin context: on_grpc_receive and on_grpc_close. A call gets either
// the one or the other. A stream gets on_grpc_receive for each message, and on_grpc_close at its
// end. Neither comes in the middle of a call of the filter. Two more callbacks would, those of
// metadata, so the filter does not export them: Envoy would carry out there what the running
// callback has put off, and could hang (host/ENVOY.md, Callouts).

// GRPCCall is proxy_grpc_call. It sends a request of one message, for an answer of one message. The
// token names the call in the callbacks.
//
// Parameters: service, a message envoy.config.core.v3.GrpcService with a target, without which
// Envoy crashes; serviceName and method, which make the path; metadata, headers of the request;
// message; timeoutMs, 0 for none. After a time-out on_grpc_close comes with status 14.
//
//   - ParseFailure: service is no such message
//   - InternalFailure: there is no such cluster, or it has no endpoints. The call is not sent. All
//     the same on_grpc_close comes after the running callback, with a token that was never given
//
// cpp-host: src/exports.cc, grpc_call. Envoy: context.cc, grpcCall.
func GRPCCall(service []byte, serviceName, method string, metadata [][2]string, message []byte, timeoutMs uint32) (token uint32, err error) {
	pairs := appendPairsOf(nil, metadata)
	err = grpcCall(
		unsafe.SliceData(service), int32(len(service)),
		unsafe.StringData(serviceName), int32(len(serviceName)),
		unsafe.StringData(method), int32(len(method)),
		unsafe.SliceData(pairs), int32(len(pairs)),
		unsafe.SliceData(message), int32(len(message)),
		timeoutMs, &token).err()
	return token, err
}

// GRPCStream is proxy_grpc_stream. It opens a stream of messages in both directions. It has no
// time-out.
//
// Parameters and statuses: those of [GRPCCall].
//
// cpp-host: src/exports.cc, grpc_stream. Envoy: context.cc, grpcStream.
func GRPCStream(service []byte, serviceName, method string, metadata [][2]string) (token uint32, err error) {
	pairs := appendPairsOf(nil, metadata)
	err = grpcStream(
		unsafe.SliceData(service), int32(len(service)),
		unsafe.StringData(serviceName), int32(len(serviceName)),
		unsafe.StringData(method), int32(len(method)),
		unsafe.SliceData(pairs), int32(len(pairs)),
		&token).err()
	return token, err
}

// GRPCSend is proxy_grpc_send. It sends a message on a stream. A message that comes after the
// server has ended the stream is lost, and that is not an error.
//
// Parameters: token, of [GRPCStream]; message; endOfStream, whether it is the last one.
//
//   - BadArgument: token is that of a call
//   - NotFound: there is no such stream
//
// cpp-host: src/exports.cc, grpc_send. Envoy: context.cc, grpcSend.
func GRPCSend(token uint32, message []byte, endOfStream bool) error {
	var last uint32
	if endOfStream {
		last = 1
	}
	return grpcSend(token, unsafe.SliceData(message), int32(len(message)), last).err()
}

// GRPCClose is proxy_grpc_close. It says that the filter sends no more on a stream. Envoy forgets a
// stream when both sides have ended it: without this call, one that its server has ended stays in
// Envoy's memory.
//
// Parameter: token, of [GRPCStream]. That of a call would cancel it.
//
//   - NotFound: there is no such stream
//
// cpp-host: src/exports.cc, grpc_close. Envoy: context.cc, grpcClose.
func GRPCClose(token uint32) error { return grpcClose(token).err() }

// GRPCCancel is proxy_grpc_cancel. It resets a call or a stream. No callback comes for it any more.
//
// Parameter: token, of [GRPCCall] or [GRPCStream].
//
//   - BadArgument: token is not one of gRPC
//   - NotFound: there is no such call or stream
//
// cpp-host: src/exports.cc, grpc_cancel. Envoy: context.cc, grpcCancel.
func GRPCCancel(token uint32) error { return grpcCancel(token).err() }

// GRPCMessage is proxy_get_buffer_bytes for the message that on_grpc_receive tells of. It can be
// read in that callback only. The bytes are the caller's.
//
// Parameter: size, as the callback says it. Of a shorter message, all of it comes.
//
//   - NotFound: there is no message in the running callback
//
// cpp-host: src/exports.cc, get_buffer_bytes. Envoy: context.cc, getBuffer.
func GRPCMessage(size int) ([]byte, error) {
	const grpcReceiveBuffer, start = 5, 0
	data, n := &result.data, &result.size
	*data, *n = nil, 0
	if err := getBufferBytes(grpcReceiveBuffer, start, uint32(size), unsafe.Pointer(data), n).err(); err != nil {
		return nil, err
	}
	return unsafe.Slice(*data, max(0, *n)), nil
}

// GRPCStatus is proxy_get_status in on_grpc_close. It returns gRPC's status and its message.
// Behind the message Envoy writes in braces how the stream has ended: "gone{via_upstream}". After
// the callback the message is "".
//
// It does not fail.
//
// cpp-host: src/exports.cc, get_status. Envoy: context.cc, getStatus.
func GRPCStatus() (code uint32, message string, err error) {
	data, size := &result.data, &result.size
	*data, *size = nil, 0
	if err := getStatus(&code, unsafe.Pointer(data), size).err(); err != nil {
		return 0, "", err
	}
	return code, view(unsafe.Slice(*data, max(0, *size))), nil
}

// appendPairsOf appends a header map to dst, as appendPairs decodes it.
func appendPairsOf(dst []byte, pairs [][2]string) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(pairs)))
	for _, p := range pairs {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p[0])))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p[1])))
	}
	for _, p := range pairs {
		dst = append(append(dst, p[0]...), 0)
		dst = append(append(dst, p[1]...), 0)
	}
	return dst
}
