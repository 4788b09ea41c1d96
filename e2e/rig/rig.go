// Package rig runs one real Envoy with the filter, in front of a backend that the test controls.
// The end-to-end tests and the benchmarks use it.
//
//   - [Start] starts the shipped envoy.yaml. It changes only the ports, the path of the module, the
//     filter's configuration and with it the route, and what [Options] ask for. The listener for
//     operators is removed unless Options.Internal is set.
//   - [Rig.Dial] and [Rig.DialWorker] open client connections, the second one to a chosen worker. A
//     takeover between two workers needs a message from one to the other, and a takeover on one
//     worker does not, so tests need both. [Rig.DialWorkerTLS] uses TLS. [Conn.Open] opens an event
//     stream.
//   - [Backend] answers as each request asks it to, and knows which streams are open on its side.
//   - [Rig.Metrics], [Rig.Log] and [Rig.Access] are what an operator sees.
package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/demo"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// defaultConcurrency is Envoy's number of workers. It does not depend on the machine, so that a
// small one has several workers too.
const defaultConcurrency = 4

// Options say what Start starts. The zero value is the shipped configuration with the filter.
type Options struct {
	Concurrency int                    // Envoy's worker threads; 0: 4
	Filter      string                 // the filter's configuration, in JSON; "": the shipped one
	Module      func() ([]byte, error) // builds the module; nil: [Filter]
	Base        Base                   // renders Envoy's configuration; nil: [envoy.Render]
	Edits       []Edit                 // the last changes to Envoy's configuration
	LogLevel    string                 // of Envoy's components, for example "wasm:debug"
	LogFlush    time.Duration          // how often Envoy writes its access log; 0: every 10 s
	Handler     http.Handler           // the backend; nil: Rig.Backend
	Between     Between                // what runs before the backend; nil: nothing
	Internal    bool                   // keep the listener for operators (see [Rig.DialListener]) and its configuration of the filter
	Args        []string               // more arguments for Envoy: see [proxy.Options]
	Launcher    proxy.Launcher         // starts Envoy; nil: [Launcher]
}

// Base renders another configuration than envoy.yaml. It must have a listener named [Edge].
// Options.Internal has no effect on it, and it gets no [AnyPath]. The file of Settings.Wasm exists
// only until Envoy serves.
type Base func(envoy.Settings) (string, error)

// Between returns a handler that answers some requests itself and passes the others to the backend.
type Between func(backend http.Handler) http.Handler

// Names of listeners in envoy.yaml.
const (
	Edge     = "edge"     // for clients
	Internal = "internal" // for operators; it serves the filter's admin path
)

// withoutInternal removes the listener for operators.
var withoutInternal = Remove("  - name: "+Internal+"\n", "\n  clusters:\n")

// AnyPath makes the shipped route take requests to any path, if they accept an event stream: each
// test has a rule of its own, and each rule a path. Start uses it with an Options.Filter.
var AnyPath = Replace("                match: {prefix: /events}\n", `                match:
                  prefix: /
                  headers:
                  - {name: accept, string_match: {contains: text/event-stream}}
`)

// An Edit changes Envoy's configuration. It returns an error unless the text to change occurs
// exactly once.
type Edit func(config string) (string, error)

// Replace replaces a text.
func Replace(old, with string) Edit {
	return func(config string) (string, error) {
		if n := strings.Count(config, old); n != 1 {
			return "", fmt.Errorf("replace %q: found %d times, want once", old, n)
		}
		return strings.Replace(config, old, with, 1), nil
	}
}

// Remove removes the text that begins with from, up to the next place that begins with to.
func Remove(from, to string) Edit {
	return func(config string) (string, error) {
		before, rest, _ := strings.Cut(config, from)
		_, after, ok := strings.Cut(rest, to)
		if n := strings.Count(config, from); n != 1 || !ok {
			return "", fmt.Errorf("remove from %q: found %d times, want once, and %q after it", from, n, to)
		}
		return before + to + after, nil
	}
}

// A Rig is a running Envoy and its backend.
type Rig struct {
	Backend *Backend
	Log     *Log // Envoy's own log
	Access  *Log // Envoy's access log, written when Options.LogFlush says, and when Envoy stops

	envoy   *proxy.Process
	server  *http.Server
	address string // host:port of Envoy's listener

	dialing sync.RWMutex // locked while Envoy's counters must show one connection only: see dialAlone
	dialed  atomic.Int64 // number of connections opened
	clients map[Protocol]*http.Transport
}

// A StartError is the error of an Envoy that did not start to serve.
type StartError struct {
	Err error
	Log *Log // Envoy's own log
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// Start starts an Envoy and its backend, and returns when Envoy serves. If Envoy does not, the
// error is a [StartError]. The caller must Stop the rig.
func Start(ctx context.Context, o Options) (*Rig, error) {
	launcher := o.Launcher
	if launcher == nil {
		var err error
		if launcher, err = Launcher(); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Rig{Backend: newBackend(), Log: &Log{}, Access: &Log{}}
	handler := o.Handler
	if handler == nil {
		handler = r.Backend
	}
	if o.Between != nil {
		handler = o.Between(handler)
	}
	r.server = demo.NewServer(handler)
	go r.server.Serve(listener)

	if err := r.start(ctx, launcher, o, listener.Addr().(*net.TCPAddr).Port); err != nil {
		return nil, errors.Join(err, r.server.Close())
	}
	r.clients = map[Protocol]*http.Transport{HTTP1: r.transport(HTTP1), HTTP2: r.transport(HTTP2)}
	return r, nil
}

// start starts Envoy. It deletes the file of the module afterwards, because Envoy reads it only
// once.
func (r *Rig) start(ctx context.Context, launcher proxy.Launcher, o Options, backend int) error {
	files, err := os.MkdirTemp("", "streamlatch-rig-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(files)
	config, err := render(o, filepath.Join(files, "filter.wasm"), backend)
	if err != nil {
		return err
	}
	r.envoy, err = proxy.Start(ctx, launcher, proxy.Options{
		Config:            config,
		Dir:               files,
		Concurrency:       cmp.Or(o.Concurrency, defaultConcurrency),
		ComponentLogLevel: o.LogLevel,
		LogFlush:          o.LogFlush,
		Args:              o.Args,
		Stdout:            proxy.EachLine(r.Access.add),
		Stderr:            proxy.EachLine(r.Log.add),
	})
	if err != nil {
		return &StartError{Err: err, Log: r.Log}
	}
	listeners, err := r.envoy.Admin().Listeners(ctx)
	if err != nil {
		return errors.Join(err, r.envoy.Stop())
	}
	var ok bool
	if r.address, ok = listeners[Edge]; !ok {
		return errors.Join(fmt.Errorf("no listener %q, envoy has %v", Edge, listeners), r.envoy.Stop())
	}
	return nil
}

// render writes the module to the file wasm, and returns Envoy's configuration, which names this
// file.
func render(o Options, wasm string, backend int) (string, error) {
	build := o.Module
	if build == nil {
		build = Filter
	}
	module, err := build()
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(wasm, module, 0o600); err != nil {
		return "", err
	}
	base := o.Base
	if base == nil {
		base = envoy.Render
	}
	config, err := base(envoy.Settings{Backend: backend, Wasm: wasm, Filter: o.Filter})
	if err != nil {
		return "", err
	}
	edits := o.Edits
	if o.Base == nil && !o.Internal {
		edits = append([]Edit{withoutInternal}, edits...)
	}
	if o.Base == nil && o.Filter != "" {
		edits = append([]Edit{AnyPath}, edits...)
	}
	for _, edit := range edits {
		if config, err = edit(config); err != nil {
			return "", fmt.Errorf("edit the configuration: %w", err)
		}
	}
	return config, nil
}

// Stop stops Envoy and the backend and waits for both. Envoy writes the rest of its logs then. Stop
// returns an error if Envoy had ended before. It may be called more than once.
func (r *Rig) Stop() error { return errors.Join(r.envoy.Stop(), r.server.Close()) }

// Envoy returns the Envoy process.
func (r *Rig) Envoy() *proxy.Process { return r.envoy }

// Address returns the host and port of Envoy's listener. While [Rig.DialWorker] runs, no
// connections may be made except through the rig.
func (r *Rig) Address() string { return r.address }

// metricPrefix is what all names of the filter's metrics begin with. The first part comes from
// Envoy, the second from the filter.
const metricPrefix = "wasmcustom.streamlatch."

// Metrics returns the filter's counters and gauges. The names have no common prefix, for example
// "events.opened".
func (r *Rig) Metrics(ctx context.Context) (map[string]uint64, error) {
	stats, err := r.envoy.Admin().Stats(ctx, "^"+strings.ReplaceAll(metricPrefix, ".", `\.`))
	if err != nil {
		return nil, err
	}
	metrics := make(map[string]uint64, len(stats.Values))
	for name, value := range stats.Values {
		metrics[strings.TrimPrefix(name, metricPrefix)] = value
	}
	return metrics, nil
}

// Log keeps the lines that Envoy writes.
type Log struct {
	mu    sync.Mutex
	lines []string
}

func (l *Log) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

// Lines returns all lines so far.
func (l *Log) Lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

// Containing returns the lines so far that contain text.
func (l *Log) Containing(text string) []string {
	var found []string
	for _, line := range l.Lines() {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// KeepModule copies a module into a directory, and returns the path of the copy. The rig deletes
// its own copy as soon as Envoy serves, but Envoy reads the module again for an update.
func KeepModule(module, dir, name string) (string, error) {
	wasm, err := os.ReadFile(module)
	if err != nil {
		return "", err
	}
	kept := filepath.Join(dir, name)
	return kept, os.WriteFile(kept, wasm, 0o600)
}
