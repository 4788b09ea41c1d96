package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/demo"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

const (
	// buildDir keeps a downloaded Envoy.
	buildDir = "build"
	// eventInterval is the time between two events of the demo backend.
	eventInterval = time.Second
	// probeLimit bounds the request that checks that Envoy and the backend serve.
	probeLimit = 10 * time.Second
)

// run runs Envoy and the demo backend until ctx ends, which is not an error, or until one of them
// ends.
func run(ctx context.Context, o options, out io.Writer) error {
	err := serve(ctx, o, out)
	if ctx.Err() != nil {
		return nil // err is only about what was interrupted
	}
	return err
}

func serve(ctx context.Context, o options, out io.Writer) error {
	if _, err := os.Stat(o.wasm); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("found no filter at %q: run `make build` first, in the root of the repository", o.wasm)
	} else if err != nil {
		return err
	}
	listener, err := reservePorts(ctx, o)
	if err != nil {
		return err
	}
	backend := demo.New(eventInterval)
	server := demo.NewServer(backend)
	defer server.Close() // Shutdown would wait for the streams, which do not end
	serverEnd := make(chan error, 1)
	go func() { serverEnd <- server.Serve(listener) }()

	report := newReporter(out, o.log)
	gateway, version, err := startEnvoy(ctx, o, port(listener.Addr()), report, out)
	if err != nil {
		return err
	}
	defer gateway.Stop()
	defer report.stop()
	found, err := probe(ctx, gateway)
	if err != nil {
		return err
	}
	backend.Behind(found.listener, found.internal)
	found.log = o.log
	printWelcome(out, version, gateway.PID(), found)
	report.start()
	return waitForEnd(ctx, gateway, serverEnd)
}

// reservePorts listens on the backend's port and checks that Envoy's ports are free. Envoy would
// not notice: on Linux it shares its ports with every other Envoy of the same user (SO_REUSEPORT),
// and each gets a part of the requests.
func reservePorts(ctx context.Context, o options) (net.Listener, error) {
	for _, p := range []struct {
		flag, use string
		number    int
	}{
		{"listen", "Envoy needs it for clients", o.listen},
		{"internal", "Envoy needs it for the filter's admin path", o.internal},
		{"admin", "Envoy needs it for its admin interface", o.admin},
	} {
		l, err := listen(ctx, p.number, p.flag, p.use)
		if err != nil {
			return nil, err
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return listen(ctx, o.backend, "backend", "the demo backend needs it")
}

func listen(ctx context.Context, number int, flag, use string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(number)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d is in use, and %s: stop the program that uses it, or choose another port: go run ./envoy/cmd/quickstart -%s PORT", number, use, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flag, err)
	}
	return l, nil
}

func startEnvoy(ctx context.Context, o options, backend int, report *reporter, out io.Writer) (*proxy.Process, proxy.Version, error) {
	finder := proxy.Finder{Dir: buildDir, Say: func(sentence string) { fmt.Fprintln(out, sentence) }}
	path, err := finder.Find(ctx)
	if err != nil {
		return nil, proxy.Version{}, err
	}
	version, err := proxy.VersionOf(ctx, proxy.Binary(path))
	if err != nil {
		return nil, proxy.Version{}, err
	}
	config, err := demo.Render(envoy.Settings{Listener: o.listen, Internal: o.internal, Admin: o.admin, Backend: backend, Wasm: o.wasm})
	if err != nil {
		return nil, proxy.Version{}, err
	}
	if err := os.MkdirAll(filepath.Dir(o.log), 0o755); err != nil {
		return nil, proxy.Version{}, err
	}
	log, err := os.Create(o.log)
	if err != nil {
		return nil, proxy.Version{}, err
	}
	// The program never closes the file: Envoy writes to it until it ends.
	fmt.Fprintf(out, "Starting Envoy %s. It compiles the filter, which takes some seconds.\n", version)
	gateway, err := proxy.Start(ctx, proxy.Binary(path), proxy.Options{
		Config:            config,
		ComponentLogLevel: "wasm:debug", // the filter logs takeovers at debug
		Stdout:            log,
		Stderr:            io.MultiWriter(log, proxy.EachLine(report.line)),
	})
	return gateway, version, err
}

// probe sends a request through Envoy to the backend, and returns Envoy's addresses.
func probe(ctx context.Context, gateway *proxy.Process) (addresses, error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	found := addresses{admin: gateway.Admin().URL}
	listeners, err := gateway.Admin().Listeners(ctx)
	if err != nil {
		return found, err
	}
	for name, address := range map[string]*string{"edge": &found.listener, "internal": &found.internal} {
		var ok bool
		if *address, ok = listeners[name]; !ok {
			return found, fmt.Errorf("envoy has no listener %q", name)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+found.listener+"/live", nil)
	if err != nil {
		return found, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return found, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return found, fmt.Errorf("the demo backend answered %q through Envoy, want 200", response.Status)
	}
	return found, nil
}

// A runner may end by itself: see [proxy.Process].
type runner interface {
	Done() <-chan struct{}
	Err() error
}

// waitForEnd waits until ctx, Envoy or the backend ends, and returns the error to report.
func waitForEnd(ctx context.Context, gateway runner, backend <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-backend:
		return fmt.Errorf("the demo backend ended by itself: %w", err)
	case <-gateway.Done():
		if exit := (*proxy.ExitError)(nil); errors.As(gateway.Err(), &exit) {
			return errors.New(exit.Summary()) // the reporter has printed the log lines
		}
		return gateway.Err()
	}
}

func port(a net.Addr) int { return a.(*net.TCPAddr).Port }
