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
	// buildDir is where `make` leaves what it builds, and where an Envoy that had to be fetched is kept.
	buildDir = "build"
	// eventInterval is that of the demo backend.
	eventInterval = time.Second
	// probeLimit bounds the one request that shows that Envoy and the backend serve.
	probeLimit = 10 * time.Second
)

// run runs the quick start until ctx ends, which is no error, or a part of it does.
func run(ctx context.Context, o options, out io.Writer) error {
	err := serve(ctx, o, out)
	if ctx.Err() != nil {
		return nil // whatever was interrupted on the way
	}
	return err
}

func serve(ctx context.Context, o options, out io.Writer) error {
	if _, err := os.Stat(o.wasm); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s: run `make build` first, in the root of the repository", o.wasm)
	} else if err != nil {
		return err
	}
	listener, err := claimPorts(ctx, o)
	if err != nil {
		return err
	}
	backend := demo.NewServer(demo.New(eventInterval))
	defer backend.Close() // not Shutdown, which would wait for streams that have no end
	backendEnd := make(chan error, 1)
	go func() { backendEnd <- backend.Serve(listener) }()

	story := newNarrator(out, o.log)
	gateway, version, err := startEnvoy(ctx, o, port(listener.Addr()), story, out)
	if err != nil {
		return err
	}
	defer gateway.Stop()
	defer story.end()
	address, internal, err := probe(ctx, gateway)
	if err != nil {
		return err
	}
	welcome(out, welcomeFacts{
		version: version, pid: gateway.PID(), address: address, internal: internal, admin: gateway.Admin().URL, log: o.log,
	})
	story.begin()
	return firstEnd(ctx, gateway, backendEnd)
}

// claimPorts takes the backend's port, and makes sure that Envoy's can be had. Envoy itself would not tell: on Linux it
// shares its port with any other Envoy of the same user (SO_REUSEPORT), and each gets a part of the requests.
func claimPorts(ctx context.Context, o options) (net.Listener, error) {
	for _, p := range []struct {
		flag, what string
		number     int
	}{
		{"listen", "Envoy would serve on it", o.listen},
		{"internal", "Envoy would serve the filter's admin path on it", o.internal},
		{"admin", "Envoy's admin interface would use it", o.admin},
	} {
		l, err := listen(ctx, p.number, p.flag, p.what)
		if err != nil {
			return nil, err
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return listen(ctx, o.backend, "backend", "the demo backend would use it")
}

func listen(ctx context.Context, number int, flag, what string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(number)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d is taken (%s): end what has it, or choose another: go run ./envoy/cmd/quickstart -%s PORT", number, what, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flag, err)
	}
	return l, nil
}

func startEnvoy(ctx context.Context, o options, backend int, story *narrator, out io.Writer) (*proxy.Process, proxy.Version, error) {
	none := proxy.Version{}
	finder := proxy.Finder{Dir: buildDir, Say: func(sentence string) { fmt.Fprintln(out, sentence) }}
	path, err := finder.Find(ctx)
	if err != nil {
		return nil, none, err
	}
	version, err := proxy.VersionOf(ctx, proxy.Binary(path))
	if err != nil {
		return nil, none, err
	}
	config, err := envoy.Render(envoy.Settings{Listener: o.listen, Internal: o.internal, Admin: o.admin, Backend: backend, Wasm: o.wasm})
	if err != nil {
		return nil, none, err
	}
	if err := os.MkdirAll(filepath.Dir(o.log), 0o755); err != nil {
		return nil, none, err
	}
	log, err := os.Create(o.log)
	if err != nil {
		return nil, none, err
	}
	// The file is open as long as the program runs: Envoy writes to it until its last moment.
	gateway, err := proxy.Start(ctx, proxy.Binary(path), proxy.Options{
		Config:            config,
		ComponentLogLevel: "wasm:debug", // takeovers are told at debug
		Stdout:            log,
		Stderr:            io.MultiWriter(log, proxy.EachLine(story.line)),
	})
	return gateway, version, err
}

// probe sends a request the whole way, and returns the addresses that Envoy serves on: to the public and to operators.
func probe(ctx context.Context, gateway *proxy.Process) (address, internal string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	listeners, err := gateway.Admin().Listeners(ctx)
	if err != nil {
		return "", "", err
	}
	for name, to := range map[string]*string{"edge": &address, "internal": &internal} {
		var ok bool
		if *to, ok = listeners[name]; !ok {
			return "", "", fmt.Errorf("envoy has no listener %q", name)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/live", nil)
	if err != nil {
		return "", "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("the demo backend answers through Envoy with %s, want 200", response.Status)
	}
	return address, internal, nil
}

// A part of the quick start that may end by itself. A [proxy.Process] is one.
type part interface {
	Done() <-chan struct{}
	Err() error
}

// firstEnd waits for the end of ctx, or of what should not have ended before.
func firstEnd(ctx context.Context, gateway part, backend <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-backend:
		return fmt.Errorf("the demo backend ended by itself: %w", err)
	case <-gateway.Done():
		if exit := (*proxy.ExitError)(nil); errors.As(gateway.Err(), &exit) {
			return errors.New(exit.Summary()) // the narrator has told its last words
		}
		return gateway.Err()
	}
}

func port(a net.Addr) int { return a.(*net.TCPAddr).Port }
