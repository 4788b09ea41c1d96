//go:build abi010

package main

//go:wasmexport proxy_abi_version_0_1_0
func abiVersion() {}

//go:wasmimport env proxy_get_configuration
func proxyGetConfiguration(dataAt, sizeAt uint32) uint32

//go:wasmimport env proxy_continue_request
func proxyContinueRequest() uint32

//go:wasmimport env proxy_continue_response
func proxyContinueResponse() uint32

//go:wasmimport env proxy_clear_route_cache
func proxyClearRouteCache() uint32

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(id, count uint32) uint32 { return requestHeaders(id) }

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(id, count uint32) uint32 { return onStream("response-headers", id) }

func proxyContinueStream(kind uint32) uint32 {
	if kind == 0 {
		return proxyContinueRequest()
	}
	return proxyContinueResponse()
}

func proxyCloseStream(uint32) uint32 { return 255 } // there is no such hostcall

func init() {
	ownCommands = map[string]func([]string) string{
		"configuration": func([]string) string { return withText(proxyGetConfiguration(dataAt, sizeAt)) },
		"clearroute":    func([]string) string { return statusName(proxyClearRouteCache()) },
	}
}
