package host

import (
	"fmt"
	"time"
)

// Worker is one of Envoy's threads, with the guest's VM on it.
type Worker struct {
	world    *World
	index    int
	vm       *vm       // nil before it has started
	starting bool      // a VM for this thread is being started
	loaded   time.Time // when a VM was last started here, or tried to
}

// Index returns the number of the worker, or MainThread.
func (t *Worker) Index() int { return t.index }

// Open begins a stream on this worker, with request headers that have arrived and
// that the filter has not seen: call RequestHeaders next. If the VM has failed
// and the policy is FailReload, and the back-off is over, the worker gets a new
// VM now.
//
// It panics for the main thread, which never has a stream.
func (t *Worker) Open(request Headers) *Stream {
	if t.index == MainThread {
		panic("host: Open on the main thread: streams live on workers")
	}
	t.mustBeFree("Open")
	t.reloadIfDue()
	s := &Stream{
		worker: t, opened: t.world.now,
		properties: make(map[string][]byte), filterState: make(map[string][]byte),
	}
	s.request.direction, s.response.direction = requestNames, responseNames
	s.request.headers = request.normalized()
	switch v := t.vm; {
	case !v.failed:
		s.vm = v
		s.context = v.addContext(v.root, s)
	case t.world.config.FailurePolicy == FailOpen:
		s.unfiltered = true
	}
	return s
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

// Crash fails the VM as a trap would: no callback is ever made into it again. Its
// streams are cut at their next callback, its timers stop, and wake-ups for it
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
// and the back-off. It is an error if the VM has not failed, or if the new one
// does not start; the worker then keeps the VM it had.
func (t *Worker) Reload() error {
	t.mustBeFree("Reload")
	if !t.Failed() {
		return fmt.Errorf("reload %s: its VM has not failed", threadName(t.index))
	}
	return t.start()
}

// reloadIfDue is FailReload. A failed attempt counts for the back-off too. The
// interval is drawn anew at every stream: the base and up to half of it again.
//
// Envoy: source/extensions/common/wasm/wasm.cc, maybeReloadHandleIfNeeded.
func (t *Worker) reloadIfDue() {
	if !t.Failed() || t.world.config.FailurePolicy != FailReload {
		return
	}
	base := t.world.config.ReloadBackoff
	backoff := base + time.Duration(t.world.jitter.Int64N(int64(base/2)+1))
	if t.world.now.Sub(t.loaded) < backoff {
		return
	}
	t.loaded = t.world.now
	if err := t.start(); err != nil {
		t.world.log(t.index, LogError, "reload failed: "+err.Error())
	}
}

// Failed reports whether the VM of this worker has failed.
func (t *Worker) Failed() bool { return t.vm != nil && t.vm.failed }

// MemoryBytes returns the size of the guest's memory. It never shrinks.
func (t *Worker) MemoryBytes() int {
	if t.vm == nil {
		return 0
	}
	return int(t.vm.memory.Size())
}

// Contexts returns the number of contexts that the VM of this worker holds: the
// plugin's and one for each stream that has not ended.
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
