package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
)

// serveExtProc serves an external processor that keeps one live stream per client. It prints its
// address.
func serveExtProc(ctx context.Context, redis string) error {
	l, err := newLatch(ctx, redis, fmt.Sprint("ext_proc-", os.Getpid()))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := grpc.NewServer()
	extproc.RegisterExternalProcessorServer(server, &processor{latch: l})
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	return server.Serve(listener)
}

// processor sees a request's headers and, because Envoy is told to send it the response's trailers
// too, stays connected for as long as the response lasts. So it can cut it.
type processor struct {
	extproc.UnimplementedExternalProcessorServer
	latch *latch
}

// Process is one HTTP stream.
func (p *processor) Process(stream extproc.ExternalProcessor_ProcessServer) error {
	var sending sync.Mutex // a gRPC stream takes one sender at a time
	send := func(r *extproc.ProcessingResponse) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(r)
	}
	ended := func() {}
	defer func() { ended() }()
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil // the HTTP stream has ended
		}
		var answer *extproc.ProcessingResponse
		switch r := request.Request.(type) {
		case *extproc.ProcessingRequest_RequestHeaders:
			cut := func() {
				send(&extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ImmediateResponse{
					ImmediateResponse: &extproc.ImmediateResponse{Status: &envoytype.HttpStatus{Code: envoytype.StatusCode_Conflict}},
				}})
			}
			closed, err := p.latch.open(stream.Context(), client(r.RequestHeaders), cut)
			if err != nil {
				return err
			}
			ended = closed
			answer = &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestHeaders{
				RequestHeaders: &extproc.HeadersResponse{},
			}}
		case *extproc.ProcessingRequest_ResponseTrailers:
			answer = &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseTrailers{
				ResponseTrailers: &extproc.TrailersResponse{},
			}}
		default:
			return fmt.Errorf("unexpected message %T", r)
		}
		if err := send(answer); err != nil {
			return err
		}
	}
}

// client returns the query parameter client of a request.
func client(headers *extproc.HttpHeaders) string {
	for _, h := range headers.GetHeaders().GetHeaders() {
		if h.Key == ":path" {
			if u, err := url.Parse(string(h.RawValue) + h.Value); err == nil {
				return u.Query().Get("client")
			}
		}
	}
	return ""
}
