// Package rig runs one real Envoy with the filter in front of a scripted backend, for the end-to-end tests and the
// benchmarks.
//
//   - [Start] runs the shipped envoy.yaml and changes nothing in it but ports, the filter's path and configuration, the
//     listener for operators, which it takes out unless it is wanted, and the edits it is asked for.
//   - [Rig.Dial] and [Rig.DialWorker] open client connections, the latter to a chosen worker of Envoy: what crosses
//     workers and what does not are two stories. [Rig.DialWorkerTLS] shows a certificate. [Conn.Open] opens an event
//     stream on one.
//   - [Backend] answers as the request asks it to, and knows which streams are open at its end.
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

// defaultConcurrency is the number of worker threads: enough to have others, on a small machine, too.
const defaultConcurrency = 4

// Options say what is started. The zero value is the shipped configuration with the filter.
type Options struct {
	Concurrency int                    // Envoy's worker threads; 0: four
	Filter      string                 // the filter's configuration, JSON; "": the shipped one
	Module      func() ([]byte, error) // the filter; nil: [Filter]
	Base        Base                   // renders what is started; nil: [envoy.Render]
	Edits       []Edit                 // of the configuration, when all else is in its place
	LogLevel    string                 // of Envoy's components, as "wasm:debug"
	LogFlush    time.Duration          // how often Envoy writes its access log; 0: every ten seconds
	Handler     http.Handler           // what stands behind Envoy; nil: the rig's Backend
	Between     Between                // what stands between Envoy and that; nil: nothing
	Internal    bool                   // with the listener for operators: see [Rig.DialListener]; without, the filter has one configuration
	Args        []string               // more arguments for Envoy: see [proxy.Options]
	Launcher    proxy.Launcher         // what starts Envoy; nil: [Launcher]
}

// Base renders another shipped configuration than envoy.yaml. It must have a listener [Edge]; Options.Internal is not
// for it. The file that Settings.Wasm names is gone when Envoy serves.
type Base func(envoy.Settings) (string, error)

// Between answers requests itself, or hands them on to the backend.
type Between func(backend http.Handler) http.Handler

// Names of listeners in envoy.yaml.
const (
	Edge     = "edge"     // for the public
	Internal = "internal" // for operators: it has the filter's admin path
)

// withoutInternal takes the listener for operators out.
var withoutInternal = Remove("  - name: "+Internal+"\n", "\n  clusters:\n")

// An Edit changes envoy.yaml. It is an error if the file does not have what is to be changed, exactly once.
type Edit func(config string) (string, error)

// Replace puts another text in the place of one.
func Replace(old, with string) Edit {
	return func(config string) (string, error) {
		if n := strings.Count(config, old); n != 1 {
			return "", fmt.Errorf("%q stands in it %d times, want once", old, n)
		}
		return strings.Replace(config, old, with, 1), nil
	}
}

// Remove takes out what begins with from, up to the next place that begins with to.
func Remove(from, to string) Edit {
	return func(config string) (string, error) {
		before, rest, _ := strings.Cut(config, from)
		_, after, ok := strings.Cut(rest, to)
		if n := strings.Count(config, from); n != 1 || !ok {
			return "", fmt.Errorf("%q stands in it %d times, want once, and %q after it", from, n, to)
		}
		return before + to + after, nil
	}
}

// A Rig is a running Envoy and its backend.
type Rig struct {
	Backend *Backend
	Log     *Log // what Envoy says
	Access  *Log // its access log; Envoy writes it when it stops, too: see Options.LogFlush

	envoy   *proxy.Process
	server  *http.Server
	address string // host:port of Envoy's listener

	streams atomic.Int64 // the id given last
	dialing sync.RWMutex // held to the end of a connection that must be told from others
	dialed  atomic.Int64 // connections opened
	clients map[Protocol]*http.Transport
}

// A StartError is returned if Envoy does not come to serve.
type StartError struct {
	Err error
	Log *Log // all that Envoy said
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// Start returns when Envoy serves; if it does not, with a [StartError]. The caller must Stop the rig.
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

// start starts Envoy. It has read the module when it serves, so the file need not outlive the start.
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
		return errors.Join(fmt.Errorf("the configuration has no listener %s, but %v", Edge, listeners), r.envoy.Stop())
	}
	return nil
}

// render writes the module to the file wasm and returns the configuration that names it.
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
	for _, edit := range edits {
		if config, err = edit(config); err != nil {
			return "", fmt.Errorf("edit the configuration: %w", err)
		}
	}
	return config, nil
}

// Stop ends Envoy and the backend and waits for both. It returns an error if Envoy did not live until now. What Envoy
// had not written to its logs yet is in them then. It may be called again.
func (r *Rig) Stop() error { return errors.Join(r.envoy.Stop(), r.server.Close()) }

// Envoy returns the process.
func (r *Rig) Envoy() *proxy.Process { return r.envoy }

// Address returns the host and port that Envoy serves on. Connections that are not made by the rig must not be made
// while [Rig.DialWorker] runs.
func (r *Rig) Address() string { return r.address }

// metricPrefix is what Envoy puts before the names that the filter gives, and the filter before all of its own.
const metricPrefix = "wasmcustom.streamlatch."

// Metrics returns the filter's counters and gauges, by their names without the common prefix: "events.opened".
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

// Lines returns the lines so far.
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
