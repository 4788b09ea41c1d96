package host

import (
	"errors"
	"fmt"
	"strings"
)

// StartError says why a filter did not start.
type StartError struct {
	Thread string // "main thread (canary)", "worker 1"
	Reason string
	Logs   Logs // all lines the guest wrote until then
}

func (e *StartError) Error() string {
	s := fmt.Sprintf("start filter on %s: %s", e.Thread, e.Reason)
	if len(e.Logs) > 0 {
		s += "; guest log:\n\t" + strings.ReplaceAll(e.Logs.String(), "\n", "\n\t")
	}
	return s
}

// startUp creates all VMs in Envoy's order: on the main thread the base VM, which
// only initialises; the canary, which tries the configuration and is thrown away
// without on_done or on_delete; the main thread's own VM; then one VM a worker.
// What the canary left in shared data and queues stays.
//
// cpp-host: src/wasm.cc, createWasm, canary, getOrCreateThreadLocalPlugin.
func (w *World) startUp() error {
	if err := w.main.tryOut(); err != nil {
		return err
	}
	for _, worker := range w.threads() {
		if err := worker.start(); err != nil {
			return err
		}
	}
	return nil
}

// tryOut runs the base VM and the canary.
func (t *Worker) tryOut() error {
	t.starting = true
	defer func() { t.starting = false }()
	base, err := t.world.initVM(t, "base VM")
	if err != nil {
		return err
	}
	canary, err := t.world.initVM(t, "canary")
	if err != nil {
		return errors.Join(err, base.close())
	}
	return errors.Join(t.world.startPlugin(canary, "canary"), canary.close(), base.close())
}

// start gives a thread its VM, in place of one that failed. On an error the thread
// keeps the VM it had. Streams of the old one may still be open, but never enter
// it again, so it can go.
func (t *Worker) start() error {
	t.starting = true
	defer func() { t.starting = false }()
	v, err := t.world.initVM(t, "")
	if err != nil {
		return err
	}
	if err := t.world.startPlugin(v, ""); err != nil {
		return errors.Join(err, v.close())
	}
	old := t.vm
	t.vm, t.loaded = v, t.world.now
	if old != nil {
		return old.close()
	}
	return nil
}

// initVM instantiates the guest and runs its start functions: _initialize and
// main, or _start. On an error it leaves no VM.
//
// cpp-host: src/wasm.cc, startVm.
func (w *World) initVM(t *Worker, role string) (*vm, error) {
	v, err := w.newVM(t.index)
	if err != nil {
		return nil, w.startError(t, role, err.Error())
	}
	var start []string
	switch {
	case v.has("_initialize") && v.has("main"):
		start = []string{"_initialize", "main"}
	case v.has("_initialize") && v.has("__main_void"):
		start = []string{"_initialize", "__main_void"}
	case v.has("_initialize"):
		start = []string{"_initialize"}
	default:
		start = []string{"_start"}
	}
	v.starting = true
	for _, function := range start {
		if _, ok := v.enter(v.vmContext, function); !ok {
			return nil, errors.Join(w.startError(t, role, function+" trapped"), v.close())
		}
	}
	v.starting = false
	return v, nil
}

// startPlugin creates the plugin's context: on_context_create, on_vm_start,
// on_configure. (on_vm_start is called once a plugin, not once a VM.)
//
// cpp-host: src/context.cc, onStart and onConfigure.
func (w *World) startPlugin(v *vm, role string) error {
	t := w.Worker(v.thread)
	v.root = v.addContext(nil, nil)
	id := uint64(v.root.id)
	v.pluginConfigReadable = true
	v.callback(v.root, "proxy_on_context_create", id, 0)
	v.pluginConfigReadable = false
	if v.failed {
		return w.startError(t, role, "proxy_on_context_create trapped")
	}
	result, called := v.callback(v.root, "proxy_on_vm_start", id, uint64(len(w.config.VMConfig)))
	if err := w.startVerdict(v, role, "proxy_on_vm_start", result, called); err != nil {
		return err
	}
	v.pluginConfigReadable = true
	result, called = v.callback(v.root, "proxy_on_configure", id, uint64(len(w.config.PluginConfig)))
	v.pluginConfigReadable = false
	return w.startVerdict(v, role, "proxy_on_configure", result, called)
}

func (w *World) startVerdict(v *vm, role, callback string, result uint32, called bool) error {
	switch {
	case v.failed:
		return w.startError(w.Worker(v.thread), role, callback+" trapped")
	case called && result == 0:
		return w.startError(w.Worker(v.thread), role, callback+" returned false")
	}
	return nil
}

func (w *World) startError(t *Worker, role, reason string) error {
	thread := threadName(t.index)
	if role != "" {
		thread += " (" + role + ")"
	}
	return &StartError{Thread: thread, Reason: reason, Logs: w.Logs()}
}

// shutDown ends the plugin of a VM, and says whether nothing is pending.
func (v *vm) shutDown() bool {
	root := v.root
	v.root = nil
	result, called := v.callback(root, "proxy_on_done", uint64(root.id))
	if called && result == 0 && !v.failed {
		v.pendingDone = root
		return false
	}
	v.deletePlugin(root)
	return true
}

func (v *vm) deletePlugin(root *vmContext) {
	v.callback(root, "proxy_on_delete", uint64(root.id))
	delete(v.contexts, root.id)
	v.timers.set(root.id, 0, v.world.now)
}
