package host_test

import (
	"context"
	"errors"
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
	// Read the sources: the go command caches a test's result until a file that the test read
	// changes.
	sources, err := filepath.Glob("testdata/guest/*.go")
	if len(sources) == 0 {
		return nil, errors.Join(err, errors.New("testdata/guest/*.go matches no files"))
	}
	for _, source := range sources {
		if _, err := os.ReadFile(source); err != nil {
			return nil, err
		}
	}
	return gobuild.Build(context.Background(), "./testdata/guest", "")
})

// guestModule compiles the guest, once. All tests use it, in parallel.
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

// newWorld starts the guest. Each of the plugin's scripts is a line "callback: script".
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

// open begins a stream and shows the guest its request headers. The scripts of the stream are given
// as callback and script in turn.
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

// wantLog checks that the log contains these lines in this order. Other lines may stand between
// them.
func wantLog(tb testing.TB, logs host.Logs, lines ...string) {
	tb.Helper()
	rest := lines
	for _, entry := range logs {
		if len(rest) > 0 && entry.Message == rest[0] {
			rest = rest[1:]
		}
	}
	if len(rest) > 0 {
		tb.Errorf("log: want the line %q after %q, got\n%s", rest[0], lines[:len(lines)-len(rest)], logs)
	}
}
