//go:build !proxytest

package main

//go:wasmimport env proxy_get_header_map_size
func proxyGetHeaderMapSize(kind, sizeAt uint32) uint32

//go:wasmimport env proxy_get_buffer_status
func proxyGetBufferStatus(kind, lengthAt, flagsAt uint32) uint32

//go:wasmimport env proxy_get_current_time_nanoseconds
func proxyGetCurrentTimeNanoseconds(at uint32) uint32

//go:wasmimport env proxy_get_status
func proxyGetStatus(codeAt, messageAt, sizeAt uint32) uint32

//go:wasmimport env proxy_grpc_call
func proxyGRPCCall(service, serviceSize, name, nameSize, method, methodSize, metadata, metadataSize, message, messageSize, timeout, tokenAt uint32) uint32

//go:wasmimport env proxy_grpc_stream
func proxyGRPCStream(service, serviceSize, name, nameSize, method, methodSize, metadata, metadataSize, tokenAt uint32) uint32

//go:wasmimport env proxy_grpc_send
func proxyGRPCSend(token, message, messageSize, end uint32) uint32

//go:wasmimport env proxy_grpc_close
func proxyGRPCClose(token uint32) uint32

//go:wasmimport env proxy_grpc_cancel
func proxyGRPCCancel(token uint32) uint32
