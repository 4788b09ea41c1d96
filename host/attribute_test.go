package host_test

import (
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// Attributes of a stream, as they change from callback to callback. That they are Envoy's is a test
// of e2e/hostcalls.
func TestAttributes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := w.Worker(0).Open(append(request(
		"request-headers", "property request/path/; property request/path//; property request/; property request/headers/x-q; property upstream/address; property request/duration; property response/code",
		"request-body", "property request/path; property request/size",
		"response-headers", "property response/code; property upstream/address; property response/grpc_status",
		"log", "property request/duration; property response/size; property request/path",
	), host.Header{Name: "x-q", Value: "1"}, host.Header{Name: "x-q", Value: "2"}))
	s.RequestHeaders(false)
	s.RequestBody([]byte("abc"), true)
	w.Advance(time.Second)
	s.ResponseHeaders(host.Response(404), false)
	s.ResponseBody([]byte("de"), true)
	wantLog(t, w.Logs(), `property request/path/ -> Ok "/events?tab=1"`, "property request/path// -> NotFound", "property request/ -> SerializationFailure",
		`property request/headers/x-q -> Ok "1,2"`, "property upstream/address -> NotFound", "property request/duration -> NotFound", "property response/code -> NotFound",
		"property request/path -> NotFound", `property request/size -> Ok "\x03\x00\x00\x00\x00\x00\x00\x00"`,
		`property response/code -> Ok "\x94\x01\x00\x00\x00\x00\x00\x00"`, `property upstream/address -> Ok "127.0.0.1:8080"`,
		`property response/grpc_status -> Ok "\f\x00\x00\x00\x00\x00\x00\x00"`,
		`property request/duration -> Ok "\x00ʚ;\x00\x00\x00\x00"`, `property response/size -> Ok "\x02\x00\x00\x00\x00\x00\x00\x00"`,
		`property request/path -> Ok "/events?tab=1"`)
}
