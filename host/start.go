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

// startUp is how Envoy starts: on the main thread the base VM, which only
// initialises; then the first listener, as AddListener has it. Only that a plugin
// must start on every thread is this host's own rule.
//
// cpp-host: src/wasm.cc, createWasm.
func (w *World) startUp() error {
	w.main.starting = true
	base, err := w.initVM(w.main, "base VM")
	w.main.starting = false
	if err != nil {
		return err
	}
	if err := w.tryOut(w.config.PluginConfig); err != nil {
		return errors.Join(err, base.close())
	}
	l := w.listen(w.config.PluginConfig)
	for _, t := range w.threads() {
		if err := l.load(t); err != nil {
			return errors.Join(err, base.close())
		}
	}
	return base.close()
}

// tryOut starts a plugin in a VM of its own on the main thread, the canary, which
// is then thrown away without on_done or on_delete. What it left in shared data
// and queues stays. The verdict of on_configure is remembered: nobody asks the
// guest twice about one configuration.
//
// cpp-host: src/wasm.cc, canary.
func (w *World) tryOut(config []byte) error {
	if verdict, tried := w.verdicts[pluginKey(config)]; tried {
		return verdict
	}
	w.main.starting = true
	defer func() { w.main.starting = false }()
	canary, err := w.initVM(w.main, "canary")
	if err != nil {
		return err
	}
	p, err := canary.startPlugin(config, "canary")
	if err == nil {
		err = p.configure("canary")
		w.verdicts[pluginKey(config)] = err
	}
	return errors.Join(err, canary.close())
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

func (w *World) startError(t *Worker, role, reason string) error {
	thread := threadName(t.index)
	if role != "" {
		thread += " (" + role + ")"
	}
	return &StartError{Thread: thread, Reason: reason, Logs: w.Logs()}
}
