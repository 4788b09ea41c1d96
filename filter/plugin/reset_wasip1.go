package plugin

// proxyCloseStream is proxy_close_stream, which the SDK offers for TCP only. In Envoy types 0 (request) and 1
// (response) reset the stream of the effective context, once the callback that is running has returned.
//
//go:wasmimport env proxy_close_stream
func proxyCloseStream(streamType uint32) uint32
