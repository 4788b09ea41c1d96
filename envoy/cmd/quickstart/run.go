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
	"github.com/streamlatch/streamlatch/envoy/etcd"
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

// run runs Envoy and the demo backend, or a fleet, until ctx ends, which is not an error, or until
// one of them ends.
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
	w := world{options: o, report: newReporter(out), out: out}
	defer w.stop()
	listener, err := w.reservePorts(ctx)
	if err != nil {
		return err
	}
	w.backend = port(listener.Addr())
	backend := demo.New(eventInterval)
	server := demo.NewServer(backend)
	defer server.Close() // Shutdown would wait for the streams, which do not end
	serverEnd := make(chan error, 1)
	go func() { serverEnd <- server.Serve(listener) }()

	if err := w.start(ctx); err != nil {
		return err
	}
	var found []addresses
	var gateways []demo.Gateway
	for _, e := range w.envoys {
		a, err := probe(ctx, e.Process)
		if err != nil {
			return err
		}
		a.log = e.log
		found = append(found, a)
		gateways = append(gateways, demo.Gateway{Edge: a.listener, Internal: a.internal})
	}
	backend.Behind(gateways...)
	if o.fleet {
		printFleetWelcome(out, w, found)
	} else {
		printWelcome(out, w.version, w.envoys[0].PID(), found[0])
	}
	w.report.start()
	return waitForEnd(ctx, w.runners(), serverEnd)
}

// world is all that the program starts, besides the backend.
type world struct {
	options
	report *reporter
	out    io.Writer

	etcd        *etcd.Process // nil without a fleet
	etcdVersion string
	version     proxy.Version // of Envoy
	envoys      []runningEnvoy
}

// runningEnvoy is an Envoy with the path of its log.
type runningEnvoy struct {
	*proxy.Process
	log string
}

// start starts the Envoys and, in a fleet, before them etcd. The caller must call stop, also after
// an error.
func (w *world) start(ctx context.Context) error {
	if w.fleet {
		if err := w.startEtcd(ctx); err != nil {
			return err
		}
	}
	finder := proxy.Finder{Dir: buildDir, Say: func(sentence string) { fmt.Fprintln(w.out, sentence) }}
	path, err := finder.Find(ctx)
	if err != nil {
		return err
	}
	if w.version, err = proxy.VersionOf(ctx, proxy.Binary(path)); err != nil {
		return err
	}
	if !w.fleet {
		fmt.Fprintf(w.out, "Starting Envoy %s. It compiles the filter, which takes some seconds.\n", w.version)
		return w.startEnvoy(ctx, path, "", w.first, w.log)
	}
	fmt.Fprintf(w.out, "Starting Envoy %s twice. Each compiles the filter, which takes some seconds.\n", w.version)
	if err := w.startEnvoy(ctx, path, "Envoy A", w.first, w.log); err != nil {
		return err
	}
	return w.startEnvoy(ctx, path, "Envoy B", w.second, w.beside("envoy-b.log"))
}

// beside returns the path of another log.
func (w *world) beside(name string) string { return filepath.Join(filepath.Dir(w.log), name) }

func (w *world) startEtcd(ctx context.Context) error {
	path, version, err := etcd.Find(ctx)
	if err != nil {
		return err
	}
	name := w.beside("etcd.log")
	log, err := create(name)
	if err != nil {
		return err
	}
	if w.etcd, err = etcd.Start(ctx, path, w.etcdPort, log); err != nil {
		return fmt.Errorf("%w; its log is %s", err, name)
	}
	w.etcdVersion = version
	return nil
}

// startEnvoy starts the Envoy that is found at path, under this name in the report.
func (w *world) startEnvoy(ctx context.Context, path, name string, p ports, logName string) error {
	render, settings := demo.Render, envoy.Settings{Listener: p.listen, Internal: p.internal, Admin: p.admin, Backend: w.backend, Wasm: w.wasm}
	var args []string
	if w.fleet {
		render, settings.Etcd = demo.RenderFleet, w.etcdPort
		args = []string{"--service-node", name} // etcd shows it
	}
	config, err := render(settings)
	if err != nil {
		return err
	}
	log, err := create(logName)
	if err != nil {
		return err
	}
	process, err := proxy.Start(ctx, proxy.Binary(path), proxy.Options{
		Config:            config,
		ComponentLogLevel: "wasm:debug", // the filter logs takeovers at debug
		Stdout:            log,
		Stderr:            io.MultiWriter(log, proxy.EachLine(w.report.from(name, logName))),
		Args:              args,
	})
	if err == nil {
		w.envoys = append(w.envoys, runningEnvoy{process, logName})
	}
	return err
}

// create creates a file for a log. The program never closes it: what it has started writes to it
// until it ends.
func create(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	return os.Create(name)
}

// stop ends what start has started: the Envoys first, which tell etcd that they leave.
func (w *world) stop() {
	w.report.stop()
	for _, e := range w.envoys {
		e.Stop()
	}
	if w.etcd != nil {
		w.etcd.Stop()
	}
}

// runners returns all that may end by itself.
func (w *world) runners() []runner {
	var all []runner
	for _, e := range w.envoys {
		all = append(all, e)
	}
	if w.etcd != nil {
		all = append(all, w.etcd)
	}
	return all
}

// reservePorts listens on the backend's port and checks that the other ports are free. Envoy would
// not notice: on Linux it shares its ports with every other Envoy of the same user (SO_REUSEPORT),
// and each gets a part of the requests.
func (w *world) reservePorts(ctx context.Context) (net.Listener, error) {
	type use struct {
		flag, use string
		number    *int
	}
	uses := []use{
		{"-listen", "Envoy needs it for clients", &w.first.listen},
		{"-internal", "Envoy needs it for the filter's admin path", &w.first.internal},
		{"-admin", "Envoy needs it for its admin interface", &w.first.admin},
	}
	if w.fleet {
		uses = append(uses,
			use{"-fleet -listen-b", "the second Envoy needs it for clients", &w.second.listen},
			use{"-fleet -internal-b", "the second Envoy needs it for the filter's admin path", &w.second.internal},
			use{"-fleet -admin-b", "the second Envoy needs it for its admin interface", &w.second.admin},
			use{"-fleet -etcd", "etcd needs it", &w.etcdPort})
	}
	for _, u := range uses {
		l, err := listen(ctx, *u.number, u.flag, u.use)
		if err != nil {
			return nil, err
		}
		defer l.Close() // after all are found, so that they differ
		if u.number == &w.etcdPort {
			w.etcdPort = port(l.Addr()) // etcd cannot choose its port
		}
	}
	return listen(ctx, w.backend, "-backend", "the demo backend needs it")
}

func listen(ctx context.Context, number int, flag, use string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(number)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d is in use, and %s: stop the program that uses it, or choose another port: go run ./envoy/cmd/quickstart %s PORT", number, use, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return l, nil
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

// waitForEnd waits until ctx, one of the programs or the backend ends, and returns the error to
// report.
func waitForEnd(ctx context.Context, programs []runner, backend <-chan error) error {
	ended := make(chan runner, len(programs))
	for _, p := range programs {
		go func() {
			select {
			case <-p.Done():
				ended <- p
			case <-ctx.Done():
			}
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-backend:
		return fmt.Errorf("the demo backend ended by itself: %w", err)
	case p := <-ended:
		if exit := (*proxy.ExitError)(nil); errors.As(p.Err(), &exit) {
			return errors.New(exit.Summary()) // the reporter has printed the log lines
		}
		return p.Err()
	}
}

func port(a net.Addr) int { return a.(*net.TCPAddr).Port }
