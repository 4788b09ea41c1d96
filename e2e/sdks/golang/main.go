// Command golang is a server or a client of MCP: what npm/mcp-server.mjs and npm/mcp-client.mjs
// are, for the Go SDK.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("want server PATH or client URL")
	}
	var err error
	switch os.Args[1] {
	case "server":
		err = serve()
	case "client":
		err = connect(os.Args[2])
	}
	log.Fatal(err)
}

func say(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
}

// waiting is what the tool slow waits for.
type waiting struct {
	mu   sync.Mutex
	done chan struct{}
}

func (w *waiting) now() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

func (w *waiting) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.done)
	w.done = make(chan struct{})
}

func serve() error {
	wait := &waiting{done: make(chan struct{})}
	server := mcp.NewServer(&mcp.Implementation{Name: "sdks", Version: "1"}, &mcp.ServerOptions{Capabilities: &mcp.ServerCapabilities{Logging: &mcp.LoggingCapabilities{}}})
	tool := func(name string, do func(ctx context.Context, session *mcp.ServerSession) error) {
		mcp.AddTool(server, &mcp.Tool{Name: name}, func(ctx context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: name}}}, nil, do(ctx, r.Session)
		})
	}
	tool("quick", func(context.Context, *mcp.ServerSession) error { return nil })
	tool("slow", func(ctx context.Context, session *mcp.ServerSession) error {
		done := wait.now()
		if err := session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: "begun"}); err != nil {
			return err
		}
		<-done
		return nil
	})
	tool("tell", func(ctx context.Context, session *mcp.ServerSession) error {
		// Not the context of the call: its stream would get the notification.
		return session.Log(context.Background(), &mcp.LoggingMessageParams{Level: "info", Data: "told"})
	})
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			wait.end()
		}
		os.Exit(0)
	}()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	say(map[string]any{"port": listener.Addr().(*net.TCPAddr).Port})
	return http.Serve(listener, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{EventStore: mcp.NewMemoryEventStore(nil)}))
}

func connect(url string) error {
	ctx := context.Background()
	client := mcp.NewClient(&mcp.Implementation{Name: "sdks", Version: "1"}, &mcp.ClientOptions{
		LoggingMessageHandler: func(_ context.Context, r *mcp.LoggingMessageRequest) { say(map[string]any{"event": r.Params.Data}) },
	})
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: url}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		return err
	}
	if err := session.SetLoggingLevel(ctx, &mcp.SetLoggingLevelParams{Level: "info"}); err != nil {
		return err
	}
	say(map[string]any{"event": "ready"})
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		go func(tool string) {
			line := map[string]any{"event": "result", "tool": tool}
			if _, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool}); err != nil {
				line["error"] = err.Error()
			}
			say(line)
		}(lines.Text())
	}
	return nil
}
