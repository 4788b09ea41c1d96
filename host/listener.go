package host

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Listener is one use of the filter in Envoy's configuration, with its own plugin configuration. It
// is either another listener with the same vm_id, code and VM configuration, or the next version of
// a listener that is being updated. Each has its own plugin context in the VM of every thread,
// beside those of the others.
//
// An update adds a listener and drains the old one:
//
//	old := world.Listeners()[0]
//	updated, err := world.AddListener(config) // if the guest refuses it, old is unchanged
//	stream := world.Worker(0).Open(request)   // uses the updated listener, which is the newest
//	old.Drain()                               // its open streams live on
//
// Listeners with equal configurations share their plugin contexts, as in Envoy.
type Listener struct {
	world   *World
	config  Plugin
	slots   map[*Worker]*slot
	drained bool
}

// slot is what a listener has on one thread.
type slot struct {
	plugin *plugin   // nil: it has not started here
	loaded time.Time // when the last attempt to start it was made
}

// AddListener adds a listener with a plugin configuration.
//
// As in Envoy, a canary on the main thread tries the configuration first. If it fails, the error is
// a *StartError, and nothing has changed except what the canary did to shared data, queues and
// metrics. A configuration that on_configure has judged before is not tried again. Then the plugin
// starts on the main thread and on every worker, in the VMs that run there. A thread whose VM has
// failed gets a new VM; the other listeners keep the failed one until they are reloaded.
//
// If the canary accepts the configuration and the plugin then fails on a thread, Envoy only logs
// it. Streams of the listener bypass the filter on that thread, whatever the failure policy, and
// Envoy accepts no further configuration.
//
// AddListener returns an error if all listeners have drained. It panics in an interceptor, because
// it needs all threads.
//
// Envoy: source/extensions/common/wasm/wasm.cc, PluginConfig and createWasm.
func (w *World) AddListener(pluginConfig []byte) (*Listener, error) {
	return w.AddPlugin(w.pluginOf(pluginConfig))
}

// AddPlugin is AddListener for a plugin with a name and a root id of its own. Listeners share a
// plugin context if all three are equal. Only the log of a trace still has Config.PluginName.
func (w *World) AddPlugin(p Plugin) (*Listener, error) {
	p.Config = bytes.Clone(p.Config)
	w.mustNotBeBusy("AddListener")
	if len(w.listeners) == 0 {
		return nil, errors.New("add listener: all listeners have drained, which ends Envoy's VMs and shared data: want a new World")
	}
	if err := w.runCanary(p); err != nil {
		return nil, err
	}
	if w.startFailure != nil {
		return nil, fmt.Errorf("add listener: Envoy accepts no configuration after one has failed on a thread: %w", w.startFailure)
	}
	l := w.newListener(p)
	for _, t := range w.threads() {
		if err := l.load(t); err != nil {
			w.log(t.index, LogError, "plugin failed to start: "+startSummary(err))
		}
	}
	return l, nil
}

// newListener returns a listener whose plugin has not started on any thread.
func (w *World) newListener(config Plugin) *Listener {
	l := &Listener{world: w, config: config, slots: make(map[*Worker]*slot)}
	for _, t := range w.threads() {
		l.slots[t] = &slot{}
	}
	w.listeners = append(w.listeners, l)
	return l
}

// Listeners returns the listeners that have not drained, oldest first. NewWorld makes the first
// one.
func (w *World) Listeners() []*Listener { return slices.Clone(w.listeners) }

// newestListener returns the listener for streams whose test names none.
func (w *World) newestListener() *Listener {
	if len(w.listeners) == 0 {
		panic("host: Open: all listeners have drained")
	}
	return w.listeners[len(w.listeners)-1]
}

// Open begins a stream of this listener on a worker. The request headers have arrived, but the
// filter has not seen them: call [Stream.RequestHeaders] next. The stream keeps its plugin context
// even if the listener drains.
//
// If the worker's VM has failed, the policy is FailReload and the back-off is over, the listener's
// plugin is started again first. It gets a new VM, or joins one that another listener has started
// in the meantime.
//
// Open panics for the main thread, which never has streams, and after Drain.
func (l *Listener) Open(worker int, request Headers) *Stream {
	s := &Stream{session: l.newSession("Open", worker), protocol: HTTP1}
	s.request.callbacks, s.response.callbacks = requestCallbacks, responseCallbacks
	s.request.headers = request.normalized()
	method, _ := s.request.headers.Get(":method")
	s.isHEAD, s.isGRPC = method == "HEAD", isGRPC(s.request.headers)
	if s.context != nil {
		s.context.session, s.context.stream = &s.session, s
	}
	return s
}

// Connect begins a TCP connection of this listener on a worker, and calls on_new_connection. What
// Open says of reloads holds for Connect, too.
func (l *Listener) Connect(worker int) *Connection {
	c := &Connection{session: l.newSession("Connect", worker)}
	if c.context != nil {
		c.context.session, c.context.connection = &c.session, c
	}
	c.begin()
	return c
}

// Drain removes the listener: no stream can be opened on it any more. On each thread its plugin
// context ends with its last stream, or at once if it has none. The end is on_done and on_delete.
// If on_done returns false, the context stays until it calls proxy_done, and on_delete follows
// then. A context that another listener shares does not end. A second Drain does nothing.
//
// Drain panics in an interceptor, because it needs all threads.
//
// cpp-host: include/proxy-wasm/wasm.h, ~PluginHandleBase.
func (l *Listener) Drain() {
	if l.drained {
		return
	}
	l.world.mustNotBeBusy("Drain")
	l.drained = true
	l.world.listeners = slices.DeleteFunc(l.world.listeners, func(other *Listener) bool { return other == l })
	for _, t := range l.world.threads() {
		if p := l.slots[t].plugin; p != nil {
			p.release()
		}
	}
}

// load starts the listener's plugin on a thread. If the listener had a plugin there, its VM has
// failed, so it needs no orderly end. After an error the listener keeps what it had there.
func (l *Listener) load(t *Worker) error {
	s := l.slots[t]
	s.loaded = l.world.now
	l.world.attempt = len(l.world.logs)
	p, err := t.plugin(l.config)
	if p == nil {
		l.world.startFailure = err
		return err
	}
	s.plugin = p
	return err
}

// reloadIfDue is the policy FailReload. The back-off begins with the last attempt, even if that
// failed, and each listener has its own. Its length is drawn anew at every stream: the base plus up
// to half of it. A plugin that never started on this thread is not started here either.
//
// Envoy: source/extensions/common/wasm/wasm.cc, maybeReloadHandleIfNeeded.
func (l *Listener) reloadIfDue(t *Worker) {
	if !l.failed(t) || l.world.config.FailurePolicy != FailReload {
		return
	}
	base := l.world.config.ReloadBackoff
	backoff := base + time.Duration(l.world.jitter.Int64N(int64(base/2)+1))
	if l.world.now.Sub(l.slots[t].loaded) < backoff {
		return
	}
	if err := l.load(t); err != nil {
		l.world.log(t.index, LogError, "reload failed: "+startSummary(err))
	}
}

// failed reports whether the VM that this listener uses on a thread has failed.
func (l *Listener) failed(t *Worker) bool {
	p := l.slots[t].plugin
	return p != nil && p.vm.failed
}
