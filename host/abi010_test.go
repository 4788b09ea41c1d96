package host_test

import (
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// abi010Guest is a guest of ABI 0.1.0. It logs its configuration in on_vm_start and on_configure.
// In its header callbacks, which have two parameters, it makes one hostcall and returns the number
// of headers, so 1 stops the stream.
func abi010Guest() testModule {
	const getConfiguration, log, continueRequest, continueResponse, clearRouteCache, getHeader = 0, 1, 2, 3, 4, 5
	const pointerAt, sizeAt, memory = 16, 20, 32
	logConfiguration := []byte{
		opI32Const, pointerAt, opI32Const, sizeAt, opCall, getConfiguration, opDrop,
		opI32Const, 2, opI32Const, memory, opI32Const, sizeAt, opI32Load, 2, 0, opCall, log, opDrop,
		opI32Const, 1,
	}
	return testModule{
		imports: []function{
			{module: "env", name: "proxy_get_configuration", typ: "ii->i"},
			{module: "env", name: "proxy_log", typ: "iii->i"},
			{module: "env", name: "proxy_continue_request", typ: "->i"},
			{module: "env", name: "proxy_continue_response", typ: "->i"},
			{module: "env", name: "proxy_clear_route_cache", typ: "->i"},
			{module: "env", name: "proxy_get_header_map_value", typ: "iiiii->i"},
		},
		exports: []function{
			{name: "proxy_abi_version_0_1_0", typ: "->"},
			{name: "malloc", typ: "i->i", body: []byte{opI32Const, memory}},
			{name: "proxy_on_vm_start", typ: "ii->i", body: logConfiguration},
			{name: "proxy_on_configure", typ: "ii->i", body: logConfiguration},
			{name: "proxy_on_request_headers", typ: "ii->i", body: []byte{
				opI32Const, 0, opI32Const, 0, opI32Const, 0, opI32Const, pointerAt, opI32Const, sizeAt, opCall, getHeader, opDrop,
				opCall, clearRouteCache, opDrop, opCall, continueRequest, opDrop, opLocalGet, 1,
			}},
			{name: "proxy_on_response_headers", typ: "ii->i", body: []byte{opCall, continueResponse, opDrop, opLocalGet, 1}},
			{name: "proxy_on_log", typ: "i->", body: []byte{
				opI32Const, 3, // response trailers, which there are none of
				opI32Const, 0, opI32Const, 0, opI32Const, pointerAt, opI32Const, sizeAt, opCall, getHeader, opDrop,
			}},
		},
	}
}

func TestABI010(t *testing.T) {
	t.Parallel()
	var statuses []host.Status // of proxy_get_header_map_value, for a header that is not there
	w, err := host.NewWorld(compile(t, abi010Guest()), host.Config{
		VMConfig: []byte("vm"), PluginConfig: []byte("plugin"),
		Intercept: func(c *host.Call) {
			if c.Name == "proxy_get_header_map_value" {
				statuses = append(statuses, c.Proceed())
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	wantLog(t, w.Logs().OfWorker(0), "vm", "plugin")

	s := w.Worker(0).Open(host.Headers{{Name: ":path", Value: "/"}})
	wantAction(t, s.RequestHeaders(true), host.StopAllIterationAndWatermark)
	if up := s.ToUpstream(); !up.Complete {
		t.Errorf("to upstream: got %+v, want the request, which proxy_continue_request has let go", up)
	}
	wantAction(t, s.ResponseHeaders(host.Response(204), true), host.StopAllIterationAndWatermark)
	if s.Ending() != host.Completed || s.RouteClears() != 1 {
		t.Errorf("got the ending %v and %d cleared routes, want completed by proxy_continue_response, and 1", s.Ending(), s.RouteClears())
	}
	if want := []host.Status{host.StatusOk, host.StatusOk}; !slices.Equal(statuses, want) {
		t.Errorf("a header that is not there, in a request and in on_log: got %v, want Ok in ABI 0.1.0", statuses)
	}
}
