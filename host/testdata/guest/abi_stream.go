//go:build !abi010

package main

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmimport env proxy_continue_stream
func proxyContinueStream(kind uint32) uint32

//go:wasmimport env proxy_close_stream
func proxyCloseStream(kind uint32) uint32

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(id, count, end uint32) uint32 { return requestHeaders(id) }

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(id, count, end uint32) uint32 { return onStream("response-headers", id) }
