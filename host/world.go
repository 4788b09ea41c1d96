package host

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// MainThread is the number of Envoy's main thread, where a worker's index is
// asked for. Instances there have timers and queues and never a stream.
const MainThread = -1

// FailurePolicy is what happens to streams when the VM of their worker failed.
type FailurePolicy int

// The policies, of which FailClosed is Envoy's default and the zero value's
// meaning.
const (
	FailClosed FailurePolicy = iota + 1 // they get a 503
	FailOpen                            // they pass without the filter
	FailReload                          // like FailClosed, but a later stream gets a new VM: see Config.ReloadBackoff
)

func (p FailurePolicy) String() string {
	switch p {
	case FailClosed:
		return "fail closed"
	case FailOpen:
		return "fail open"
	case FailReload:
		return "fail reload"
	}
	return fmt.Sprintf("FailurePolicy(%d)", int(p))
}

// Config describes a world. The zero value is one worker, an empty
// configuration, a fixed start of time and seed 0.
type Config struct {
	Workers int    // 0: one
	Seed    uint64 // of all randomness: the guests' random_get, the jitter of reloads

	VMID         string
	VMConfig     []byte
	PluginConfig []byte // of the first listener: see World.AddListener
	PluginName   string
	RootID       string

	Start         time.Time     // of the virtual clock; zero: 2026-01-01 00:00 UTC
	FailurePolicy FailurePolicy // zero: FailClosed
	ReloadBackoff time.Duration // base of FailReload's back-off; zero: Envoy's 1s
	LogLevel      LogLevel      // what proxy_get_log_level answers; the world keeps every line

	// Properties are what proxy_get_property finds in every context, by path (see
	// PropertyPath): before anything the host derives itself, and after what
	// Stream.SetProperty set.
	Properties map[string][]byte

	// Intercept sees every hostcall of every VM, from the canary's on, when there
	// is no World yet that it could use. See World.Intercept to set it later.
	Intercept func(*Call)
}

// defaultStart is the time at which worlds begin.
var defaultStart = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// World is an Envoy with one filter: its workers, what they share, and the listeners
// that use the filter.
type World struct {
	module    *Module
	config    Config
	intercept func(*Call)

	start, now time.Time
	main       *Worker
	workers    []*Worker

	listeners   []*Listener      // those that have not drained, the oldest first
	verdicts    map[string]error // on_configure's in the canary, by configuration
	baseFailure error            // why no configuration is accepted any more

	data    *sharedData
	queues  *sharedQueues
	metrics *metricStore
	logs    Logs
	created uint64 // VMs so far
	jitter  *rand.Rand
}

// NewWorld starts a filter as Envoy does. The error, if the guest did not start
// or refused its configuration, is a *StartError with the guest's log lines.
func NewWorld(module *Module, config Config) (*World, error) {
	if config.Workers < 0 {
		return nil, fmt.Errorf("new world: Workers is %d, want 0 or more", config.Workers)
	}
	config.Workers = cmp.Or(config.Workers, 1)
	config.FailurePolicy = cmp.Or(config.FailurePolicy, FailClosed)
	config.ReloadBackoff = cmp.Or(config.ReloadBackoff, time.Second)
	if config.Start.IsZero() {
		config.Start = defaultStart
	}
	config.VMConfig, config.PluginConfig = slices.Clone(config.VMConfig), slices.Clone(config.PluginConfig)
	config.Properties = maps.Clone(config.Properties)
	w := &World{
		module: module, config: config, intercept: config.Intercept,
		start: config.Start, now: config.Start,
		verdicts: make(map[string]error),
		data:     newSharedData(), queues: newSharedQueues(), metrics: newMetricStore(),
		jitter: rand.New(rand.NewPCG(config.Seed, 0)),
	}
	w.main = &Worker{world: w, index: MainThread}
	for i := range config.Workers {
		w.workers = append(w.workers, &Worker{world: w, index: i})
	}
	if err := w.startUp(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Close frees the VMs without running any of their code: see Shutdown for an
// orderly end.
func (w *World) Close() error {
	var errs []error
	for _, worker := range w.threads() {
		if worker.vm != nil {
			errs = append(errs, worker.vm.close())
			worker.vm = nil
		}
	}
	return errors.Join(errs...)
}

// Shutdown drains all listeners: see [Listener.Drain]. It returns the number of
// plugin contexts whose on_done answered false, and which are pending until they
// call proxy_done. End all streams before.
func (w *World) Shutdown() (pending int) {
	for _, l := range w.Listeners() {
		l.Drain()
	}
	for _, worker := range w.threads() {
		if v := worker.vm; v != nil && !v.failed {
			pending += len(v.pendingDone)
		}
	}
	return pending
}

// Worker returns worker i, or for MainThread what lives on the main thread. It
// panics if there is no such worker.
func (w *World) Worker(i int) *Worker {
	if i == MainThread {
		return w.main
	}
	if i < 0 || i >= len(w.workers) {
		panic(fmt.Sprintf("host: worker %d of a world with %d", i, len(w.workers)))
	}
	return w.workers[i]
}

// Workers returns the workers, without the main thread.
func (w *World) Workers() []*Worker { return slices.Clone(w.workers) }

// threads are all threads with a VM, the main thread first.
func (w *World) threads() []*Worker { return append([]*Worker{w.main}, w.workers...) }

// mustBeFree panics unless all threads are free, when the test misuses an
// interceptor, or if there is no world any more.
func (w *World) mustBeFree(method string) {
	for _, t := range w.threads() {
		t.mustBeFree(method)
	}
}

// Intercept replaces Config.Intercept from the next hostcall on; nil removes it.
func (w *World) Intercept(f func(*Call)) { w.intercept = f }

// Metrics returns a copy of all statistics that guests defined.
func (w *World) Metrics() Metrics { return w.metrics.snapshot() }

// SharedData returns a copy of the shared data.
func (w *World) SharedData() map[string]SharedValue { return w.data.snapshot() }

// SetSharedData overwrites a key, as a guest with cas 0 would: to plant a value
// that no correct guest writes.
func (w *World) SetSharedData(key string, value []byte) { w.data.set(key, value, 0) }

// Queues returns the number of items in each shared queue, by name.
func (w *World) Queues() map[string]int {
	lengths := make(map[string]int, len(w.queues.queues))
	for _, q := range w.queues.queues {
		lengths[q.name.name] = len(q.items)
	}
	return lengths
}

// Logs returns a copy of all lines so far.
func (w *World) Logs() Logs { return slices.Clone(w.logs) }

func (w *World) log(thread int, level LogLevel, message string) {
	w.logs = append(w.logs, LogEntry{Time: w.now, Worker: thread, Level: level, Message: message})
}

func threadName(index int) string {
	if index == MainThread {
		return "main thread"
	}
	return fmt.Sprintf("worker %d", index)
}
