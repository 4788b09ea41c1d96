package host

import (
	"errors"
	"fmt"
)

// Worker is one of Envoy's threads, with the guest's VM on it, which the plugins of
// all listeners share.
type Worker struct {
	world    *World
	index    int
	vm       *vm  // nil before it has started
	starting bool // a VM or a plugin for this thread is being started
}

// Index returns the number of the worker, or MainThread.
func (t *Worker) Index() int { return t.index }

// Open begins a stream on this worker, by way of the newest listener that has not
// drained: see [Listener.Open].
func (t *Worker) Open(request Headers) *Stream {
	return t.world.newest().Open(t.index, request)
}

// Tick fires the timers of this worker now, whenever they are due, and re-arms
// them from now. It returns the number of ticks, 0 if no timer runs.
func (t *Worker) Tick() (ticks int) {
	t.mustBeFree("Tick")
	if !t.idle() {
		return 0
	}
	for _, timer := range t.vm.timers.armed() {
		t.tick(timer.contextID)
		ticks++
	}
	return ticks
}

// Run delivers the pending wake-ups of this worker, and of no other.
func (t *Worker) Run() (delivered int) {
	return t.world.deliver(func(u Wakeup) bool { return u.Worker == t.index })
}

// Crash fails the VM as a trap would: no callback is ever made into it again. The
// streams of all its plugins are cut at their next callback, its timers stop, and wake-ups for it
// are lost. On a worker that waits in an interceptor, the trap happens when its
// hostcall returns.
func (t *Worker) Crash() {
	switch {
	case t.vm == nil || t.vm.failed:
	case t.vm.running != "":
		t.vm.doomed = "crashed by the test"
	default:
		t.vm.fail("crashed by the test")
	}
}

// Reload gives a worker whose VM failed a new one at once, whatever the policy
// and the back-off, and starts there the plugin of every listener, the oldest
// first. It is an error if no listener needs it, or if a plugin does not start;
// its listener then keeps what it had.
func (t *Worker) Reload() error {
	t.mustBeFree("Reload")
	var errs []error
	needed := false
	for _, l := range t.world.listeners {
		if l.failed(t) {
			needed = true
			errs = append(errs, l.load(t))
		}
	}
	if !needed {
		return fmt.Errorf("reload %s: its VM has not failed", threadName(t.index))
	}
	return errors.Join(errs...)
}

// Failed reports whether the VM of this worker has failed. A newer one, which some
// listener was given since, does not help those that still have the old one: their
// streams fail until they are reloaded too.
func (t *Worker) Failed() bool { return t.vm != nil && t.vm.failed }

// MemoryBytes returns the size of the guest's memory. It never shrinks.
func (t *Worker) MemoryBytes() int {
	if t.vm == nil {
		return 0
	}
	return int(t.vm.memory.Size())
}

// Contexts returns the number of contexts that the VM of this worker holds: the
// plugins' and one for each stream that has not ended.
func (t *Worker) Contexts() int {
	if t.vm == nil {
		return 0
	}
	return len(t.vm.contexts) - 1 // without the VM's own
}

// busy reports whether the thread waits in an interceptor, in a callback or while
// a VM starts.
func (t *Worker) busy() bool { return t.starting || t.vm != nil && t.vm.running != "" }

// idle reports whether callbacks can be made.
func (t *Worker) idle() bool { return t.vm != nil && !t.vm.failed && !t.busy() }

// mustBeFree panics if the thread is busy, when the test misuses an interceptor, or
// if there is no world any more.
func (t *Worker) mustBeFree(method string) {
	switch {
	case t.starting:
		panic(fmt.Sprintf("host: %s on %s while it starts: an interceptor may use other workers only", method, threadName(t.index)))
	case t.vm == nil:
		panic(fmt.Sprintf("host: %s on %s of a closed world", method, threadName(t.index)))
	default:
		t.vm.mustBeIdle(method)
	}
}

// plugin returns the plugin that runs a configuration in the thread's VM, started
// if need be, in a new VM if there is none or it has failed. An error leaves the
// thread with the VM it had. The caller has to release the plugin.
//
// If the old VM has failed its streams may still be open, but they never enter it
// again, so it can go.
//
// cpp-host: src/wasm.cc, getOrCreateThreadLocalPlugin.
func (t *Worker) plugin(config []byte) (*plugin, error) {
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

// tick runs on_tick and starts the timer again. A module without on_tick has its
// timer stopped by its first firing.
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

// wake delivers a wake-up to whatever has the registrant's context id in the VM
// that the thread has now. It may be another one than registered: after a reload
// the new plugin context has the same id and is woken for the old one's queue.
//
// cpp-host: src/shared_queue.cc, enqueue. Measured on Envoy 1.40.
func (t *Worker) wake(u Wakeup) {
	if !t.idle() {
		return
	}
	if c, ok := t.vm.contexts[u.ContextID]; ok {
		t.vm.callback(c, "proxy_on_queue_ready", uint64(c.id), uint64(u.Queue))
	}
}
