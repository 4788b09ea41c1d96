package host

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime/debug"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// vm is one instance of the guest, on one thread.
type vm struct {
	world  *World
	thread int // worker index or MainThread

	ctx       context.Context // carries the vm itself to the host functions
	instance  api.Module
	memory    api.Memory
	functions map[string]api.Function
	allocator string // malloc or proxy_on_memory_allocate
	stack     [3]uint64

	contexts      map[uint32]*vmContext
	nextContextID uint32
	vmContext     *vmContext // id 0, current while the guest starts or allocates

	plugins     map[string]*plugin // those that were not asked to end, by key
	pendingDone map[string]*plugin // those that were, and are not done yet

	// What cpp-host keeps in thread-local variables during a call.
	running   string // the callback the guest is in; empty: none
	current   *vmContext
	effective uint32

	starting, allocating bool
	stopIteration        bool     // a local reply was asked for in this callback
	after                []func() // deferred until the callback returns
	doomed               string   // set: the guest traps when the hostcall at hand returns
	failed               bool
	hostPanic            any // a panic that is not the guest's, on its way out

	metrics      *metricIDs
	timers       *timers
	random       *rand.ChaCha8
	clockReading int64
}

// vmContext is what the ABI calls a context: the VM's own, a plugin's, or a
// stream's.
type vmContext struct {
	id     uint32
	parent *vmContext // of a stream: the plugin's; otherwise nil
	stream *Stream
	plugin *plugin // of a plugin's context; otherwise nil

	configReadable bool // the plugin's configuration: only in its on_context_create and on_configure
}

// root returns the plugin context that a context belongs to.
func (c *vmContext) root() *vmContext {
	if c.parent != nil {
		return c.parent
	}
	return c
}

// newVM instantiates the guest without running any of its code.
func (w *World) newVM(thread int) (*vm, error) {
	v := &vm{
		world: w, thread: thread,
		functions: make(map[string]api.Function),
		contexts:  make(map[uint32]*vmContext),
		vmContext: &vmContext{id: 0},
		metrics:   newMetricIDs(w.metrics),
		timers:    newTimers(),
		random:    w.newRandom(),

		plugins:       make(map[string]*plugin),
		pendingDone:   make(map[string]*plugin),
		nextContextID: 1,
	}
	v.contexts[0] = v.vmContext
	v.ctx = context.WithValue(context.Background(), vmKey{}, v)
	instance, err := w.module.runtime.InstantiateModule(v.ctx, w.module.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("instantiate guest: %w", err)
	}
	v.instance = instance
	v.memory = instance.Memory()
	for _, f := range guestFunctions {
		if fn := instance.ExportedFunction(f.name); fn != nil {
			v.functions[f.name] = fn
		}
	}
	v.allocator = "malloc"
	if !v.has(v.allocator) {
		v.allocator = "proxy_on_memory_allocate"
	}
	return v, nil
}

// newRandom returns the source of random_get for the next VM of the world: every
// VM its own, all of them given by the seed.
func (w *World) newRandom() *rand.ChaCha8 {
	w.created++
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], w.config.Seed)
	binary.LittleEndian.PutUint64(seed[8:], w.created)
	return rand.NewChaCha8(seed)
}

func (v *vm) has(function string) bool { return v.functions[function] != nil }

func (v *vm) addContext(parent *vmContext, stream *Stream) *vmContext {
	c := &vmContext{id: v.nextContextID, parent: parent, stream: stream}
	v.nextContextID++
	v.contexts[c.id] = c
	return c
}

// context returns the context that a hostcall is attributed to. If the effective
// context is gone it is the true one.
//
// cpp-host: src/exports.cc, contextOrEffectiveContext.
func (v *vm) context() *vmContext {
	if v.effective != 0 {
		if c, ok := v.contexts[v.effective]; ok {
			return c
		}
	}
	return v.current
}

// callback runs one callback of the guest with everything that Envoy does after
// it. It is nothing if the VM has failed or the module does not export it.
func (v *vm) callback(c *vmContext, name string, arguments ...uint64) (result uint32, called bool) {
	if v.failed || !v.has(name) {
		return 0, false
	}
	result, _ = v.enterCallback(c, name, arguments...)
	v.finishCallback()
	return result, true
}

// enterCallback is callback without the deferred actions.
func (v *vm) enterCallback(c *vmContext, name string, arguments ...uint64) (uint32, bool) {
	v.mustBeIdle(name)
	v.running = name
	defer func() { v.running = "" }()
	return v.enter(c, name, arguments...)
}

// finishCallback carries out what the callback asked for and Envoy defers: local
// replies, resets, continues. Some of these run further callbacks.
//
// cpp-host: src/context.cc, DeferAfterCallActions.
func (v *vm) finishCallback() {
	v.stopIteration = false
	for len(v.after) > 0 {
		action := v.after[0]
		v.after = v.after[1:]
		action()
	}
}

// mustBeIdle panics if the guest is in a callback: a misuse by the test, since
// the host itself never does it.
func (v *vm) mustBeIdle(name string) {
	if v.running != "" {
		panic(fmt.Sprintf("host: %s on %s while its VM is in %s: an interceptor may use other workers only",
			name, threadName(v.thread), v.running))
	}
}

// enter calls a function of the guest on behalf of a context. Every entry starts
// without an effective context, and restores the one before when it returns. A
// trap fails the VM and answers 0, false.
//
// cpp-host: include/proxy-wasm/wasm_vm.h, SaveRestoreContext.
func (v *vm) enter(c *vmContext, name string, arguments ...uint64) (uint32, bool) {
	current, effective := v.current, v.effective
	v.current, v.effective = c, 0
	defer func() { v.current, v.effective = current, effective }()

	stack := v.stack
	copy(stack[:], arguments)
	if err := v.functions[name].CallWithStack(v.ctx, stack[:]); err != nil {
		v.rethrowHostPanic()
		v.fail(fmt.Sprintf("Function: %s failed: %v", name, err))
		return 0, false
	}
	return uint32(stack[0]), true
}

// fail makes the VM as dead as a trap does: no callback is ever made again. Its
// streams learn of it at their next callback.
func (v *vm) fail(message string) {
	v.world.log(v.thread, LogError, message)
	v.failed = true
	v.doomed = ""
}

func (v *vm) close() error { return v.instance.Close(v.ctx) }

// guestTrap is a panic in a host function that is meant to trap the guest.
type guestTrap string

func (t guestTrap) Error() string { return string(t) }

// hostPanic is any other panic: a bug of this package, or one that the test
// raised in an interceptor. wazero would turn it into an error of the guest.
type hostPanic struct {
	value any
	stack []byte
}

func (p hostPanic) Error() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

func (v *vm) noteHostPanic() {
	r := recover()
	if r == nil {
		return
	}
	switch r.(type) {
	case guestTrap:
	case hostPanic:
		v.hostPanic = r
	default:
		v.hostPanic = hostPanic{r, debug.Stack()}
	}
	panic(r)
}

func (v *vm) rethrowHostPanic() {
	if p := v.hostPanic; p != nil {
		v.hostPanic = nil
		panic(p)
	}
}
