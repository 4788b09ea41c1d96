// Command golang is a server or a client of MCP for the Go SDK: what npm/mcp-server.mjs and the
// others in that folder are.
package main

//lint:file-ignore SA1019 Sessions with logging are what clients speak today; the SDK keeps them for another year.

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
	if len(os.Args) < 3 {
		log.Fatal("want server PATH, client URL, modern-server PATH or modern-client URL TOKEN")
	}
	var err error
	switch os.Args[1] {
	case "server":
		err = serve()
	case "client":
		err = connect(os.Args[2])
	case "modern-server":
		err = serveModern()
	case "modern-client":
		err = connectModern(os.Args[2], os.Args[3])
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

// released ends the wait for each line on stdin.
func (w *waiting) released() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		w.end()
	}
	os.Exit(0)
}

// addTool adds a tool without arguments, which answers with its name.
func addTool(server *mcp.Server, name string, do func(ctx context.Context, session *mcp.ServerSession) error) {
	mcp.AddTool(server, &mcp.Tool{Name: name}, func(ctx context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: name}}}, nil, do(ctx, r.Session)
	})
}

// listen serves a server.
func listen(server *mcp.Server, o *mcp.StreamableHTTPOptions) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	say(map[string]any{"port": listener.Addr().(*net.TCPAddr).Port})
	return http.Serve(listener, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, o))
}

// each calls act for each line on stdin.
func each(act func(line string) error) {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		go func(tool string) {
			line := map[string]any{"event": "result", "tool": tool}
			if err := act(tool); err != nil {
				line["error"] = err.Error()
			}
			say(line)
		}(lines.Text())
	}
}

var me = &mcp.Implementation{Name: "sdks", Version: "1"}

func serve() error {
	wait := &waiting{done: make(chan struct{})}
	go wait.released()
	server := mcp.NewServer(me, &mcp.ServerOptions{Capabilities: &mcp.ServerCapabilities{Logging: &mcp.LoggingCapabilities{}}})
	addTool(server, "quick", func(context.Context, *mcp.ServerSession) error { return nil })
	addTool(server, "slow", func(ctx context.Context, session *mcp.ServerSession) error {
		done := wait.now()
		if err := session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: "begun"}); err != nil {
			return err
		}
		<-done
		return nil
	})
	addTool(server, "tell", func(ctx context.Context, session *mcp.ServerSession) error {
		// Not the context of the call: its stream would get the notification.
		return session.Log(context.Background(), &mcp.LoggingMessageParams{Level: "info", Data: "told"})
	})
	return listen(server, &mcp.StreamableHTTPOptions{EventStore: mcp.NewMemoryEventStore(nil)})
}

func connect(url string) error {
	ctx := context.Background()
	client := mcp.NewClient(me, &mcp.ClientOptions{
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
	each(func(tool string) error {
		_, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool})
		return err
	})
	return nil
}
