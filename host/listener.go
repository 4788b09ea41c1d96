package host

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Listener is one use of the filter in Envoy's configuration, with a plugin
// configuration of its own: a second listener with the same vm_id, code and VM
// configuration, or what an update of the first brings. Each has a plugin context
// in the VM of every thread, next to those of the others.
//
// An update is a new listener, and the end of the old one:
//
//	old := world.Listeners()[0]
//	fresh, err := world.AddListener(config) // if it is refused the old one stays
//	stream := world.Worker(0).Open(request) // on the fresh one, as is each new stream
//	old.Drain()                             // its streams, if any are left, live on
//
// Listeners with equal configurations share their plugin contexts, as in Envoy.
type Listener struct {
	world   *World
	config  []byte
	slots   map[*Worker]*slot
	drained bool
}

// slot is what a listener has on one thread.
type slot struct {
	plugin *plugin   // nil: it did not start here
	loaded time.Time // when it was last started here, or tried to
}

// AddListener brings one more listener with a plugin configuration. As in Envoy a
// canary on the main thread tries the configuration first; if that refuses it the
// error is a *StartError, and nothing has changed but for what the canary did to
// shared data, queues and metrics. A configuration that was tried before is not
// tried again. Then the plugin starts on the main thread and on every worker, in
// the VMs that are there; a thread whose VM has failed gets a new one, for this
// listener only.
//
// A plugin that the canary accepted and that fails on a thread all the same is no
// error to Envoy, but a line in its log: streams of the listener pass that thread
// unfiltered, whatever the failure policy, and no configuration is accepted any
// more.
//
// It is an error if all listeners have drained. It panics in an interceptor, since
// it needs all threads.
//
// Envoy: source/extensions/common/wasm/wasm.cc, PluginConfig and createWasm.
func (w *World) AddListener(pluginConfig []byte) (*Listener, error) {
	w.mustBeFree("AddListener")
	if len(w.listeners) == 0 {
		return nil, errors.New("add listener: all have drained, and Envoy's VMs and shared data have gone with them: make a new World")
	}
	if err := w.tryOut(pluginConfig); err != nil {
		return nil, err
	}
	if w.baseFailure != nil {
		return nil, fmt.Errorf("add listener: Envoy accepts no configuration any more, since an earlier one failed on a thread: %w", w.baseFailure)
	}
	l := w.listen(pluginConfig)
	for _, t := range w.threads() {
		if err := l.load(t); err != nil {
			w.log(t.index, LogError, "plugin failed to start: "+err.Error())
		}
	}
	return l, nil
}

// listen makes a listener whose plugin has not started anywhere.
func (w *World) listen(config []byte) *Listener {
	l := &Listener{world: w, config: bytes.Clone(config), slots: make(map[*Worker]*slot)}
	for _, t := range w.threads() {
		l.slots[t] = &slot{}
	}
	w.listeners = append(w.listeners, l)
	return l
}

// Listeners returns the listeners that have not drained, the oldest first. NewWorld
// makes one.
func (w *World) Listeners() []*Listener { return slices.Clone(w.listeners) }

// newest is the listener that new streams take unless the test says otherwise.
func (w *World) newest() *Listener {
	if len(w.listeners) == 0 {
		panic("host: Open in a world whose listeners have drained")
	}
	return w.listeners[len(w.listeners)-1]
}

// Open begins a stream of this listener on a worker, with request headers that have
// arrived and that the filter has not seen: call RequestHeaders next. The stream
// keeps its plugin context whatever becomes of the listener. If the VM has failed
// and the policy is FailReload, and the back-off is over, the listener's plugin
// starts again now, in a new VM, or in one that another listener was given since.
//
// It panics for the main thread, which never has a stream, and after Drain.
func (l *Listener) Open(worker int, request Headers) *Stream {
	switch {
	case worker == MainThread:
		panic("host: Open on the main thread: streams live on workers")
	case l.drained:
		panic("host: Open on a listener that has drained")
	}
	t := l.world.Worker(worker)
	t.mustBeFree("Open")
	l.reloadIfDue(t)
	s := &Stream{
		worker: t, protocol: HTTP1, opened: l.world.now,
		properties: make(map[string][]byte), filterState: make(map[string][]byte),
	}
	s.request.direction, s.response.direction = requestNames, responseNames
	s.request.headers = request.normalized()
	switch p := l.slots[t].plugin; {
	case p == nil:
		s.unfiltered = true
	case !p.vm.failed:
		p.users++
		s.plugin, s.vm = p, p.vm
		s.context = p.vm.addContext(p.root, s)
	case l.world.config.FailurePolicy == FailOpen:
		s.unfiltered = true
	}
	return s
}

// Drain takes the listener away: no stream can be opened on it any more. On each
// thread its plugin context ends with the last stream that is in it, at once if
// there is none: on_done, and on_delete unless on_done answered false, which leaves
// the context pending until it calls proxy_done. A context that another listener
// shares does not end. A second Drain is nothing.
//
// It panics in an interceptor, since it needs all threads.
//
// cpp-host: include/proxy-wasm/wasm.h, ~PluginHandleBase.
func (l *Listener) Drain() {
	if l.drained {
		return
	}
	l.world.mustBeFree("Drain")
	l.drained = true
	l.world.listeners = slices.DeleteFunc(l.world.listeners, func(other *Listener) bool { return other == l })
	for _, t := range l.world.threads() {
		if p := l.slots[t].plugin; p != nil {
			p.release()
		}
	}
}

// load starts the listener's plugin on a thread, in place of none or of one whose VM
// has failed, and which therefore cannot end in any other way. On an error the slot
// keeps what it had.
func (l *Listener) load(t *Worker) error {
	s := l.slots[t]
	s.loaded = l.world.now
	p, err := t.plugin(l.config)
	if p == nil {
		l.world.baseFailure = err
		return err
	}
	s.plugin = p
	return err
}

// reloadIfDue is FailReload. A failed attempt counts for the back-off too, and each
// listener has its own. The interval is drawn anew at every stream: the base and up
// to half of it again. A plugin that never started on this thread is not reloaded.
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
		l.world.log(t.index, LogError, "reload failed: "+err.Error())
	}
}

// failed reports whether the VM that the listener has on a thread has failed.
func (l *Listener) failed(t *Worker) bool {
	p := l.slots[t].plugin
	return p != nil && p.vm.failed
}
