package host_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/host"
	"github.com/streamlatch/streamlatch/host/gobuild"
)

// guestWasm builds the guest of testdata/guest, once.
var guestWasm = sync.OnceValues(func() ([]byte, error) {
	// The go tool caches test results by the files a test itself looks at.
	sources, err := filepath.Glob("testdata/guest/*.go")
	if err != nil || len(sources) == 0 {
		return nil, fmt.Errorf("find the guest's sources: %d found, %w", len(sources), err)
	}
	for _, source := range sources {
		if _, err := os.ReadFile(source); err != nil {
			return nil, err
		}
	}
	return gobuild.Build(context.Background(), "./testdata/guest", "")
})

// guestModule compiles the guest, once: all tests share it, in parallel.
var guestModule = sync.OnceValues(func() (*host.Module, error) {
	wasm, err := guestWasm()
	if err != nil {
		return nil, err
	}
	return host.Compile(context.Background(), wasm)
})

func module(tb testing.TB) *host.Module {
	tb.Helper()
	m, err := guestModule()
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// newWorld starts the guest. The plugin's scripts are lines "callback: script".
func newWorld(tb testing.TB, config host.Config, scripts ...string) *host.World {
	tb.Helper()
	config.PluginConfig = []byte(strings.Join(scripts, "\n"))
	w, err := host.NewWorld(module(tb), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.Close(); err != nil {
			tb.Error(err)
		}
	})
	return w
}

// open begins a stream with scripts, given as callback and script in turn, and
// shows the guest its headers.
func open(worker *host.Worker, scripts ...string) *host.Stream {
	s := worker.Open(request(scripts...))
	s.RequestHeaders(true)
	return s
}

func request(scripts ...string) host.Headers {
	pairs := make([]string, len(scripts))
	for i, word := range scripts {
		pairs[i] = word
		if i%2 == 0 {
			pairs[i] = "on-" + word
		}
	}
	return host.Request("GET", "/events?tab=1", pairs...)
}

// wantLog checks that the guest logged these lines, in this order, among others.
func wantLog(tb testing.TB, logs host.Logs, lines ...string) {
	tb.Helper()
	rest := lines
	for _, entry := range logs {
		if len(rest) > 0 && entry.Message == rest[0] {
			rest = rest[1:]
		}
	}
	if len(rest) > 0 {
		tb.Errorf("log lacks %q (in the order given); it has\n%s", rest[0], logs)
	}
}
