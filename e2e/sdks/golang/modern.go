package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// resources are those to which somebody subscribes. A client of this SDK has a subscription for
// each.
type resources struct {
	mu   sync.Mutex
	uris []string
}

func (r *resources) add(uri string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uris = append(r.uris, uri)
}

func (r *resources) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.uris...)
}

func serveModern() error {
	wait := &waiting{done: make(chan struct{})}
	go wait.released()
	var watched resources
	server := mcp.NewServer(me, &mcp.ServerOptions{
		SubscribeHandler: func(_ context.Context, r *mcp.SubscribeRequest) error {
			watched.add(r.Params.URI)
			return nil
		},
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
	})
	server.AddResourceTemplate(&mcp.ResourceTemplate{Name: "test", URITemplate: "test://{n}"}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{}, nil
	})
	addTool(server, "quick", func(context.Context, *mcp.ServerSession) error { return nil })
	addTool(server, "slow", func(context.Context, *mcp.ServerSession) error {
		done := wait.now()
		say(map[string]any{"event": "begun"})
		<-done
		return nil
	})
	addTool(server, "tell", func(context.Context, *mcp.ServerSession) error {
		for _, uri := range watched.all() {
			if err := server.ResourceUpdated(context.Background(), &mcp.ResourceUpdatedNotificationParams{URI: uri}); err != nil {
				return err
			}
		}
		return nil
	})
	return listen(server, &mcp.StreamableHTTPOptions{Stateless: true})
}

// bearer adds a token to each request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

func connectModern(url, token string) error {
	ctx := context.Background()
	client := mcp.NewClient(me, &mcp.ClientOptions{
		ResourceUpdatedHandler: func(context.Context, *mcp.ResourceUpdatedNotificationRequest) { say(map[string]any{"event": "told"}) },
	})
	transport := &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: bearer(token)}}
	session, err := client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: "2026-07-28"})
	if err != nil {
		return err
	}
	say(map[string]any{"event": "ready"})
	var n atomic.Int64
	each(func(tool string) error {
		if tool == "listen" {
			if err := session.Subscribe(ctx, &mcp.SubscribeParams{URI: fmt.Sprintf("test://%d", n.Add(1))}); err != nil {
				return err
			}
			say(map[string]any{"event": "listening"})
			return nil
		}
		_, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool})
		return err
	})
	return nil
}
