package host_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// What the client gets for proxy_send_local_response. Measured on Envoy 1.40 with this guest.
func TestLocalReplyHeaders(t *testing.T) {
	t.Parallel()
	const grpc = "application/grpc"
	tests := []struct {
		name, contentType string
		script            string
		want              string // headers, then the body
		grpcStatus        int32
	}{
		{"a body", "", "reply 403 det no+thing", `:status=403 content-length=8 content-type=text/plain "no thing"`, -1},
		{"a body and headers", "", "reply 403 det no content-type=text/html x=1 content-length=9",
			`:status=403 content-type=text/html x=1 content-length=2 "no"`, -1},
		{"no body", "", "reply 403 det _ content-type=text/html x=1 content-length=9", `:status=403 x=1 ""`, -1},
		{"a gRPC status for a request that is not gRPC", "", "grpcstatus 5; reply 403 det _", `:status=403 ""`, 5},
		{"gRPC", grpc, "reply 403 det no+thing content-type=text/html x=1 content-length=3",
			`:status=200 content-type=application/grpc x=1 grpc-status=7 grpc-message=no thing ""`, 7},
		{"gRPC with a status and no message", grpc, "grpcstatus 5; reply 200 det _ x=1",
			`:status=200 x=1 content-type=application/grpc grpc-status=5 ""`, 5},
		{"gRPC with a status that does not exist", grpc + "+json", "grpcstatus 17; reply 429 det a%0A~é",
			`:status=200 content-type=application/grpc grpc-status=14 grpc-message=a%250A%7E%C3%A9 ""`, 14},
		{"gRPC with a status among the headers", grpc, "grpcstatus 5; reply 429 det _ grpc-status=3",
			`:status=200 grpc-status=3 content-type=application/grpc ""`, 3},
		{"a content type with a parameter is not gRPC", grpc + "; charset=utf-8", "reply 500 det _", `:status=500 ""`, -1},
		{"gRPC-Web is not gRPC", grpc + "-web", "reply 500 det _", `:status=500 ""`, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{})
			s := w.Worker(0).Open(append(request("request-headers", tt.script), host.Header{Name: "content-type", Value: tt.contentType}))
			s.RequestHeaders(true)
			down := s.ToClient()
			got := fmt.Sprintf("%s %q", text(down.Headers), down.Body)
			if got != tt.want || s.LocalReply().GRPCStatus != tt.grpcStatus || s.Details() != "det" || s.Ending() != host.Completed {
				t.Errorf("got %s, gRPC status %d, details %q, ending %v; want %s, %d, det, completed",
					got, s.LocalReply().GRPCStatus, s.Details(), s.Ending(), tt.want, tt.grpcStatus)
			}
		})
	}
}

// text writes headers as "name=value", separated by spaces.
func text(h host.Headers) string {
	words := make([]string, len(h))
	for i, e := range h {
		words[i] = e.Name + "=" + e.Value
	}
	return strings.Join(words, " ")
}

// Each HTTP status stands for a gRPC status.
func TestGRPCStatusOfReplies(t *testing.T) {
	t.Parallel()
	want := map[int]int32{200: 2, 400: 13, 401: 16, 403: 7, 404: 12, 409: 2, 429: 14, 500: 2, 502: 14, 503: 14, 504: 14}
	w := newWorld(t, host.Config{})
	for status, grpcStatus := range want {
		s := w.Worker(0).Open(append(request("request-headers", fmt.Sprintf("reply %d _ _", status)),
			host.Header{Name: "content-type", Value: "application/grpc"}))
		if s.RequestHeaders(true); s.LocalReply().GRPCStatus != grpcStatus {
			t.Errorf("reply %d: got the gRPC status %d, want %d", status, s.LocalReply().GRPCStatus, grpcStatus)
		}
	}
}

// A reply to a gRPC request has no body, also if it replaces a response, or stands for a failed VM.
func TestGRPCReplyInOtherPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	open := func(scripts ...string) *host.Stream {
		s := w.Worker(0).Open(append(request(scripts...), host.Header{Name: "content-type", Value: "application/grpc"}))
		s.RequestHeaders(true)
		return s
	}
	s := open("response-headers", "reply 403 _ late")
	s.ResponseHeaders(host.Response(200), false)
	if got := text(s.ToClient().Headers); got != ":status=200 content-type=application/grpc grpc-status=7 grpc-message=late" || s.ToClient().Body != nil {
		t.Errorf("in place of a response: got %s and the body %q", got, s.ToClient().Body)
	}
	s = open("request-headers", "panic ouch")
	if got := text(s.ToClient().Headers); got != ":status=200 content-type=application/grpc grpc-status=14" {
		t.Errorf("after the VM has failed: got %s", got)
	}
}

// A HEAD request gets the headers of the body that it does not get, even if the guest has changed
// the method.
func TestReplyToHEAD(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	h := request("request-headers", "replace 0 :method GET; reply 403 det nothing")
	h[0].Value = "HEAD"
	s := w.Worker(0).Open(h)
	s.RequestHeaders(true)
	if got := text(s.ToClient().Headers); got != ":status=403 content-length=7 content-type=text/plain" || s.ToClient().Body != nil {
		t.Errorf("got %s and the body %q", got, s.ToClient().Body)
	}
}
