package host

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// MainThread stands for Envoy's main thread wherever a worker's index is expected. The VM of the
// main thread has timers and queues, but never a stream.
const MainThread = -1

// FailurePolicy says what Envoy does with the streams of a worker whose VM has failed.
type FailurePolicy int

// The failure policies. The zero value of [Config.FailurePolicy] means FailClosed, which is Envoy's
// default.
const (
	FailClosed FailurePolicy = iota + 1 // the client gets a 503
	FailOpen                            // the stream bypasses the filter
	FailReload                          // like FailClosed, but after Config.ReloadBackoff the next stream starts a new VM
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

// Config describes a world. The zero value means one worker, an empty configuration, seed 0, and a
// clock that starts at a fixed time.
type Config struct {
	// Beside is a world of the same Envoy process, which runs another filter, or the same one with
	// another vm_id or VM configuration. Both worlds then have the same threads, clock, seed,
	// clusters, metrics and queues, and with the same vm_id also the same shared data. [World.Run],
	// [World.Advance] and [World.Tick] of either act for both. Each has its own VMs, log and
	// listeners. Workers, Seed, Start and Clusters are those of the first world: leave them zero.
	Beside *World

	Workers int    // zero: 1
	Seed    uint64 // of all randomness: the guest's random_get, and the jitter of reloads

	VMID         string
	VMConfig     []byte
	PluginConfig []byte // of the first listener; World.AddListener adds others
	PluginName   string
	RootID       string

	Start         time.Time     // initial time of the virtual clock; zero: 2026-01-01 00:00 UTC
	FailurePolicy FailurePolicy // zero: FailClosed
	ReloadBackoff time.Duration // base of FailReload's back-off, to which up to half is added; zero: 1s, as in Envoy
	// AllowStopIteration is Envoy's plugin option allow_on_headers_stop_iteration. Pause in a
	// headers callback then holds the headers only: the filter sees the body while they wait, and
	// they go on when a body callback returns Continue.
	AllowStopIteration bool

	LogLevel LogLevel // what proxy_get_log_level returns; World.Logs keeps lines of every level

	// Properties are what proxy_get_property returns in every context, by path: see [PropertyPath].
	// They take precedence over the properties that the host itself knows. [Stream.SetProperty]
	// takes precedence over them.
	Properties map[string][]byte

	// Clusters are the clusters of Envoy that the guest can reach with proxy_http_call and with the
	// hostcalls of gRPC, by name. A handler answers when the test calls [World.Run] or
	// [Worker.Run]; it gets the whole request, and must return. A panic with http.ErrAbortHandler
	// is a broken connection. Where the handler is nil, the test itself answers: see
	// [World.HTTPCalls] and [World.GRPCCalls]. See also [NoEndpoints].
	Clusters map[string]http.Handler

	// ForeignFunctions are functions that the guest can call with proxy_call_foreign_function, by
	// name. They take precedence over Envoy's own: compress, uncompress, sign, verify_signature,
	// set_envoy_filter_state, declare_property and clear_route_cache. Envoy's expr_create,
	// expr_evaluate and expr_delete are missing here, unless they are in this map.
	ForeignFunctions map[string]ForeignFunction

	// Intercept sees every hostcall of every VM, beginning with those of the canary, which come
	// before NewWorld has returned the World. [World.Intercept] sets it later.
	Intercept func(*Call)

	// Trace gets a line for every callback and every hostcall of every VM, with arguments and
	// results. The same seed and the same script give the same text, so it can be kept as a golden
	// file. Hostcalls of WASI and of the guest's allocator are left out.
	//
	//	worker 0: proxy_on_request_headers(2, 4, 1)
	//	worker 0:   proxy_get_shared_data(key="n") = Ok, value="1", cas=3
	//	worker 0: proxy_on_request_headers = 0
	Trace io.Writer
}

var defaultStart = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// World is one Envoy process with one filter: its threads, what they share, and the listeners that
// use the filter. Other worlds may run other filters in the same process: see Config.Beside.
type World struct {
	*process
	module    *Module
	config    Config
	intercept func(*Call)

	main    *Worker
	workers []*Worker

	listeners    []*Listener         // those that have not drained, oldest first
	canaryResult map[pluginKey]error // what on_configure of the canary said, by configuration
	startFailure error               // not nil: Envoy accepts no further configuration

	data    *sharedData
	logs    Logs
	attempt int // how many log lines there were before the newest start of a plugin
}

// process is an Envoy process, which one world or several share.
type process struct {
	worlds []*World // those that are not closed

	seed       uint64
	start, now time.Time
	wallClock  time.Duration // by how much the real time was set forward

	data        map[string]*sharedData // by vm_id
	queues      *sharedQueues
	metrics     *metricStore
	network     *network
	vmCount     uint64 // VMs created so far
	connections uint64 // connections of clients so far
	jitter      *rand.Rand
}

// NewWorld starts the filter on every thread, as Envoy does when it starts. If the guest does not
// start, or refuses its configuration, the error is a *StartError with the guest's log lines.
func NewWorld(module *Module, config Config) (*World, error) {
	if config.Workers < 0 {
		return nil, fmt.Errorf("new world: Workers is %d, want 0 or more", config.Workers)
	}
	p, err := newProcess(module, &config)
	if err != nil {
		return nil, fmt.Errorf("new world: %w", err)
	}
	config.FailurePolicy = cmp.Or(config.FailurePolicy, FailClosed)
	config.ReloadBackoff = cmp.Or(config.ReloadBackoff, time.Second)
	config.VMConfig, config.PluginConfig = slices.Clone(config.VMConfig), slices.Clone(config.PluginConfig)
	config.Properties, config.ForeignFunctions = maps.Clone(config.Properties), maps.Clone(config.ForeignFunctions)
	w := &World{
		process: p, module: module, config: config, intercept: config.Intercept,
		canaryResult: make(map[pluginKey]error), data: p.sharedData(config.VMID),
	}
	w.main = &Worker{world: w, index: MainThread}
	for i := range config.Workers {
		w.workers = append(w.workers, &Worker{world: w, index: i})
	}
	p.worlds = append(p.worlds, w)
	if err := w.startFilter(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// newProcess returns the process for a new world: that of Config.Beside, or a new one. It completes
// what the configuration says about the process.
func newProcess(module *Module, config *Config) (*process, error) {
	if config.Beside == nil {
		config.Workers = cmp.Or(config.Workers, 1)
		if config.Start.IsZero() {
			config.Start = defaultStart
		}
		return &process{
			seed: config.Seed, start: config.Start, now: config.Start,
			data: make(map[string]*sharedData), queues: newSharedQueues(), metrics: newMetricStore(),
			network: &network{clusters: maps.Clone(config.Clusters)},
			jitter:  rand.New(rand.NewPCG(config.Seed, 0)),
		}, nil
	}
	if config.Workers != 0 || config.Seed != 0 || !config.Start.IsZero() || config.Clusters != nil {
		return nil, errors.New("Workers, Seed, Start and Clusters are those of the world in Beside: want them zero")
	}
	p := config.Beside.process
	for _, w := range p.worlds {
		if w.module == module && w.config.VMID == config.VMID && bytes.Equal(w.config.VMConfig, config.VMConfig) {
			return nil, fmt.Errorf("a world with this module, VM configuration and vm_id %q runs already, so Envoy shares its VMs: want World.AddListener", config.VMID)
		}
	}
	if len(p.worlds) == 0 {
		return nil, errors.New("the world in Beside is closed")
	}
	config.Workers = len(p.worlds[0].workers)
	return p, nil
}

// sharedData returns the shared data of a vm_id.
func (p *process) sharedData(vmID string) *sharedData {
	if d := p.data[vmID]; d != nil {
		return d
	}
	d := newSharedData()
	for _, other := range p.data {
		d.cas = other.cas // one counter for all
	}
	p.data[vmID] = d
	return d
}

// Close frees the VMs at once. The guest is not called: [World.Shutdown] ends it in an orderly way.
func (w *World) Close() error {
	var errs []error
	for _, worker := range w.threads() {
		if worker.vm != nil {
			errs = append(errs, worker.vm.close())
			worker.vm = nil
		}
	}
	w.worlds = slices.DeleteFunc(w.worlds, func(other *World) bool { return other == w })
	return errors.Join(errs...)
}

// Shutdown drains all listeners: see [Listener.Drain]. It returns the number of plugin contexts
// whose on_done returned false, and which therefore stay until they call proxy_done. All streams
// must have ended before.
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

// Worker returns worker i, or the main thread if i is MainThread. It panics if there is no such
// worker.
func (w *World) Worker(i int) *Worker {
	if i == MainThread {
		return w.main
	}
	if i < 0 || i >= len(w.workers) {
		panic(fmt.Sprintf("host: Worker(%d): want 0 to %d, or MainThread", i, len(w.workers)-1))
	}
	return w.workers[i]
}

// Workers returns all workers, without the main thread.
func (w *World) Workers() []*Worker { return slices.Clone(w.workers) }

// threads returns the main thread and then the workers.
func (w *World) threads() []*Worker { return append([]*Worker{w.main}, w.workers...) }

// allThreads returns the threads of all worlds of the process: the main thread of each world, then
// worker 0 of each, and so on.
func (p *process) allThreads() (threads []*Worker) {
	if len(p.worlds) == 0 {
		return nil
	}
	for i := range 1 + len(p.worlds[0].workers) {
		for _, w := range p.worlds {
			threads = append(threads, w.Worker(i-1)) // MainThread is -1
		}
	}
	return threads
}

// mustNotBeBusy panics if any thread is busy, which means that an interceptor called the method, or
// if the world is closed.
func (w *World) mustNotBeBusy(method string) {
	for _, t := range w.threads() {
		t.mustNotBeBusy(method)
	}
}

// Intercept replaces Config.Intercept, from the next hostcall on. Nil removes it.
func (w *World) Intercept(f func(*Call)) { w.intercept = f }

// Metrics returns a copy of all metrics that guests of this process defined.
func (w *World) Metrics() Metrics { return w.metrics.snapshot() }

// SharedData returns a copy of the shared data of this vm_id.
func (w *World) SharedData() map[string]SharedValue { return w.data.snapshot() }

// SetSharedData sets a key whatever its cas, as a guest does with cas 0. With it a test can store a
// value that no correct guest would write.
func (w *World) SetSharedData(key string, value []byte) { w.data.set(key, value, 0) }

// Queues returns the number of items in each shared queue of this vm_id, by queue name.
func (w *World) Queues() map[string]int {
	lengths := make(map[string]int, len(w.queues.queues))
	for _, q := range w.queues.queues {
		if q.name.vmID == w.config.VMID {
			lengths[q.name.name] = len(q.items)
		}
	}
	return lengths
}

// Enqueue appends an item to a shared queue of this vm_id, as another filter does. [World.Run] then
// delivers the wake-up. It panics if no guest has registered the queue.
func (w *World) Enqueue(queue string, item []byte) {
	w.queues.enqueue(w.queue("Enqueue", queue), item)
}

// Dequeue takes the oldest item out of a shared queue of this vm_id, as another filter does. It
// returns false if the queue is empty. It panics if no guest has registered the queue.
func (w *World) Dequeue(queue string) (item []byte, ok bool) {
	item, status := w.queues.dequeue(w.queue("Dequeue", queue))
	return item, status == StatusOk
}

func (w *World) queue(method, name string) uint32 {
	token, status := w.queues.resolve(w.config.VMID, name)
	if status != StatusOk {
		panic(fmt.Sprintf("host: %s: no guest has registered a queue %q for vm_id %q", method, name, w.config.VMID))
	}
	return token
}

// Logs returns a copy of all log lines so far.
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
