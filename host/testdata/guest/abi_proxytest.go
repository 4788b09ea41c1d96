//go:build proxytest

package main

// missing is what the guest logs for the hostcalls that the SDK's proxytest does not have, so that
// the module links there.
const missing = 255

func proxyGetHeaderMapSize(kind, sizeAt uint32) uint32           { return missing }
func proxyGetBufferStatus(kind, lengthAt, flagsAt uint32) uint32 { return missing }
func proxyGetCurrentTimeNanoseconds(at uint32) uint32            { return missing }
func proxyGetStatus(codeAt, messageAt, sizeAt uint32) uint32     { return missing }
func proxyGRPCCall(service, serviceSize, name, nameSize, method, methodSize, metadata, metadataSize, message, messageSize, timeout, tokenAt uint32) uint32 {
	return missing
}
func proxyGRPCStream(service, serviceSize, name, nameSize, method, methodSize, metadata, metadataSize, tokenAt uint32) uint32 {
	return missing
}
func proxyGRPCSend(token, message, messageSize, end uint32) uint32 { return missing }
func proxyGRPCClose(token uint32) uint32                           { return missing }
func proxyGRPCCancel(token uint32) uint32                          { return missing }
