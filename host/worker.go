package host

import (
	"errors"
	"fmt"
	"slices"
)

// Worker is one of Envoy's threads with the guest's VM. The plugins of all listeners share this VM.
type Worker struct {
	world    *World
	index    int
	vm       *vm  // nil until it has started, and after World.Close
	starting bool // a VM or a plugin is being started on this thread
}

// Index returns the number of the worker, or MainThread.
func (t *Worker) Index() int { return t.index }

// Open begins a stream on this worker, through the newest listener that has not drained: see
// [Listener.Open].
func (t *Worker) Open(request Headers) *Stream {
	return t.world.newestListener().Open(t.index, request)
}

// Connect begins a TCP connection on this worker, through the newest listener that has not drained:
// see [Listener.Connect].
func (t *Worker) Connect() *Connection { return t.world.newestListener().Connect(t.index) }

// Tick calls on_tick for every timer of this worker now, even if it is not due yet. Each timer
// starts again from now. Tick returns the number of calls.
func (t *Worker) Tick() (ticks int) {
	t.mustNotBeBusy("Tick")
	if !t.ready() {
		return 0
	}
	for _, timer := range t.vm.timers.armed() {
		t.tick(timer.ContextID)
		ticks++
	}
	return ticks
}

// Run is [World.Run] for what is pending on this worker only.
func (t *Worker) Run() (delivered int) {
	return t.world.deliver(func(thread int) bool { return thread == t.index })
}

// Crash makes the VM fail as a trap would. Its timers stop and its wake-ups are lost. The guest is
// never called in it again: each of its streams is cut at its next callback. If the worker is
// waiting in an interceptor, the trap happens when the interceptor has returned.
func (t *Worker) Crash() {
	switch {
	case t.vm == nil || t.vm.failed:
	case t.vm.running != "":
		t.vm.pendingTrap = "crashed by the test"
	default:
		t.vm.fail("crashed by the test")
	}
}

// Reload replaces a failed VM with a new one at once, whatever the failure policy and the back-off,
// and starts in it the plugin of every listener, oldest first. It returns an error if no listener
// has a failed VM here, or if a plugin does not start; that plugin's listener then keeps its failed
// VM.
func (t *Worker) Reload() error {
	t.mustNotBeBusy("Reload")
	var errs []error
	needed := false
	for _, l := range t.world.listeners {
		if l.failed(t) {
			needed = true
			errs = append(errs, l.load(t))
		}
	}
	if !needed {
		return fmt.Errorf("reload %s: no VM has failed", threadName(t.index))
	}
	return errors.Join(errs...)
}

// Failed reports whether the newest VM of this worker has failed. Even if it has not, a listener
// may still have an older, failed VM, because another listener started the newer one. Streams of
// that listener fail until it is reloaded too.
func (t *Worker) Failed() bool { return t.vm != nil && t.vm.failed }

// MemoryBytes returns the size of the guest's memory. WebAssembly memory never shrinks.
func (t *Worker) MemoryBytes() int {
	if t.vm == nil {
		return 0
	}
	return int(t.vm.memory.Size())
}

// Contexts returns the number of contexts in the VM of this worker: one for each plugin, and one
// for each stream that has not ended.
func (t *Worker) Contexts() int {
	if t.vm == nil {
		return 0
	}
	return len(t.vm.contexts) - 1 // without context 0, the VM's own
}

// Timers returns the running timers of this worker, earliest first.
func (t *Worker) Timers() []Timer {
	if t.vm == nil || t.vm.failed {
		return nil
	}
	return t.vm.timers.armed()
}

// busy reports whether the guest cannot be called because it is already in a call: the thread waits
// in an interceptor, or starts a VM.
func (t *Worker) busy() bool {
	return slices.ContainsFunc(t.world.worlds, func(w *World) bool {
		other := w.Worker(t.index)
		return other.starting || other.vm != nil && other.vm.running != ""
	})
}

// ready reports whether callbacks can be made on this thread now.
func (t *Worker) ready() bool { return t.vm != nil && !t.vm.failed && !t.busy() }

// mustNotBeBusy panics if the thread is busy, which means that an interceptor called the method, or
// if the world is closed.
func (t *Worker) mustNotBeBusy(method string) {
	switch {
	case slices.ContainsFunc(t.world.worlds, func(w *World) bool { return w.Worker(t.index).starting }):
		panic(fmt.Sprintf("host: %s on %s while it starts: an interceptor may use only other workers", method, threadName(t.index)))
	case t.vm == nil:
		panic(fmt.Sprintf("host: %s on %s of a closed world", method, threadName(t.index)))
	default:
		t.vm.mustBeIdle(method)
	}
}

// plugin returns the plugin that runs a configuration in the thread's VM, and starts it if it does
// not run yet. It creates a new VM if there is none or if it has failed. After an error the thread
// keeps the VM that it had. The caller must release the plugin.
//
// A failed VM is closed when its successor has started. It may still have open streams, but they
// never call it again.
//
// cpp-host: src/wasm.cc, getOrCreateThreadLocalPlugin.
func (t *Worker) plugin(config Plugin) (*plugin, error) {
	t.starting = true
	defer func() { t.starting = false }()
	v, old := t.vm, t.vm
	if v == nil || v.failed {
		fresh, err := t.world.initVM(t, "")
		if err != nil {
			return nil, err
		}
		v = fresh
	}
	p, err := v.plugin(config)
	switch {
	case err == nil && v != old:
		t.vm = v
		if old != nil {
			err = old.close()
		}
	case err != nil && v != old:
		err = errors.Join(err, v.close())
	}
	return p, err
}

// tick calls on_tick and then starts the timer again. If the guest does not export on_tick, the
// timer stops, as it does in Envoy when it fires for the first time.
func (t *Worker) tick(contextID uint32) {
	v := t.vm
	if !v.has("proxy_on_tick") {
		v.timers.set(contextID, 0, t.world.now)
		return
	}
	if c, ok := v.contexts[contextID]; ok {
		v.callback(c, "proxy_on_tick", uint64(contextID))
	}
	v.timers.rearm(contextID, t.world.now)
}

// wake calls on_queue_ready in the context that has the registrant's id in the thread's present VM.
// This need not be the context that registered the queue: after a reload the new plugin context has
// the same id, and is called for the queue of the old one.
//
// cpp-host: src/shared_queue.cc, enqueue. Measured on Envoy 1.40.
func (t *Worker) wake(u Wakeup) {
	if !t.ready() {
		return
	}
	if c, ok := t.vm.contexts[u.ContextID]; ok {
		t.vm.callback(c, "proxy_on_queue_ready", uint64(c.id), uint64(u.Queue))
	}
}
