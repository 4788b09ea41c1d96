package host

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// StartError is the error of a guest that did not start, or that refused its configuration.
// NewWorld, World.AddListener and Worker.Reload return it.
type StartError struct {
	Thread string // for example "main thread (canary)" or "worker 1"
	Reason string
	Logs   Logs // all log lines until then

	attempt Logs // those of the start that failed
}

func (e *StartError) Error() string {
	s := e.summary()
	if len(e.attempt) > 0 {
		s += "; guest log:\n\t" + strings.ReplaceAll(e.attempt.String(), "\n", "\n\t")
	}
	return s
}

func (e *StartError) summary() string {
	return fmt.Sprintf("start filter on %s: %s", e.Thread, e.Reason)
}

// startSummary returns an error's text without the guest's log, for a line of this log.
func startSummary(err error) string {
	var start *StartError
	if errors.As(err, &start) {
		return start.summary()
	}
	return err.Error()
}

// startFilter does what Envoy does when it starts: it creates the base VM on the main thread, in
// which no plugin runs, and then starts the first listener as AddListener does. Unlike in
// AddListener and in Envoy, it is an error if the plugin does not start on some thread: a test
// wants to know at once.
//
// cpp-host: src/wasm.cc, createWasm.
func (w *World) startFilter() error {
	w.main.starting = true
	base, err := w.initVM(w.main, "base VM")
	w.main.starting = false
	if err != nil {
		return err
	}
	if err := w.runCanary(w.firstPlugin()); err != nil {
		return errors.Join(err, base.close())
	}
	l := w.newListener(w.firstPlugin())
	for _, t := range w.threads() {
		if err := l.load(t); err != nil {
			return errors.Join(err, base.close())
		}
	}
	return base.close()
}

// firstPlugin returns the plugin of the first listener.
func (w *World) firstPlugin() Plugin { return w.pluginOf(w.config.PluginConfig) }

// pluginOf returns a plugin with the world's name and root id.
func (w *World) pluginOf(config []byte) Plugin {
	return Plugin{Name: w.config.PluginName, RootID: w.config.RootID, Config: bytes.Clone(config)}
}

// runCanary starts the plugin in a VM of its own on the main thread, the canary, and discards this
// VM without on_done and on_delete. What the canary wrote to shared data, queues and metrics stays.
// If on_configure was called, its result is kept: Envoy never runs a second canary for the same
// configuration.
//
// cpp-host: src/wasm.cc, canary.
func (w *World) runCanary(config Plugin) error {
	if result, tried := w.canaryResult[config.key()]; tried {
		return result
	}
	w.attempt = len(w.logs)
	w.main.starting = true
	defer func() { w.main.starting = false }()
	canary, err := w.initVM(w.main, "canary")
	if err != nil {
		return err
	}
	p, err := canary.startPlugin(config, "canary")
	if err == nil {
		err = p.configure("canary")
		w.canaryResult[config.key()] = err
	}
	return errors.Join(err, canary.close())
}

// initVM instantiates the guest and calls its start functions. After an error there is no VM to
// close.
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
	case v.has("_start"):
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
	return &StartError{Thread: thread, Reason: reason, Logs: w.Logs(), attempt: slices.Clone(w.logs[w.attempt:])}
}
