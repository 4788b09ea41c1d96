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

	ctx       context.Context // carries this vm to the host functions
	instance  api.Module
	memory    api.Memory
	functions map[string]api.Function
	allocator string      // malloc or proxy_on_memory_allocate
	stacks    []callStack // of the calls of the guest that have not returned, the innermost last

	contexts      map[uint32]*vmContext
	nextContextID uint32
	vmContext     *vmContext // id 0: the context of calls to the start functions and the allocator

	plugins     map[pluginKey]*plugin // by key, until on_done
	pendingDone map[pluginKey]*plugin // by key: on_done returned false, and proxy_done was not called yet

	// The state of a call. cpp-host keeps it in thread-local variables.
	running   string // the name of the callback that the guest is in; empty: none
	current   *vmContext
	effective uint32

	starting, allocating bool
	stopIteration        bool     // the present callback asked for a local reply
	deferred             []func() // what to do when the present callback has returned
	pendingTrap          string   // not empty: the guest traps when the present hostcall returns
	failed               bool
	reentered            bool // what is deferred is carried out in the middle of a callback: see reenter
	failedDeferring      bool // something could not be deferred
	hostPanic            any  // a panic of the host or the test, while it passes through wazero

	metrics      *metricIDs
	timers       *timers
	random       *rand.ChaCha8
	clockReading int64
	depth        int // of callbacks in the trace
	panicking    panicText
	callouts     [3]uint32 // how many were sent, by kind
	dnsToken     uint32
}

// callStack is where wazero finds the arguments of a call of the guest, and leaves its result. A VM
// keeps them, as one on Go's stack would go to the heap at each call.
type callStack [5]uint64

// vmContext is a context in the sense of the ABI: that of the VM (id 0), of a plugin, of a stream,
// or of a TCP connection.
type vmContext struct {
	id     uint32
	parent *vmContext // for a stream or connection, the context of its plugin; otherwise nil
	plugin *plugin    // only for the context of a plugin

	// Of a context that is not a plugin's: either stream or connection is not nil, and session is
	// its session.
	session    *session
	stream     *Stream
	connection *Connection

	statusCode    uint32 // what proxy_get_status returns, in the context of a plugin
	statusMessage string
	httpResponse  *Message // during on_http_call_response, in the context of a plugin
	grpc          grpcState

	prototypes map[string]propertyPrototype // by name: what declare_property said in this context

	configReadable bool // the plugin is in on_context_create or on_configure, and may read its configuration
}

// root returns the plugin context that c belongs to, which may be c itself.
func (c *vmContext) root() *vmContext {
	if c.parent != nil {
		return c.parent
	}
	return c
}

// newVM instantiates the guest. It does not call it.
func (w *World) newVM(thread int) (*vm, error) {
	v := &vm{
		world: w, thread: thread,
		functions: make(map[string]api.Function),
		contexts:  make(map[uint32]*vmContext),
		vmContext: &vmContext{id: 0},
		metrics:   newMetricIDs(w.metrics),
		timers:    newTimers(),
		random:    w.newRandom(),

		plugins:       make(map[pluginKey]*plugin),
		pendingDone:   make(map[pluginKey]*plugin),
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
	for _, f := range guestFunctions(w.module.version) {
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

// newRandom returns the source of random_get for the next VM of the world. Every VM gets a
// different sequence, and the seed determines all of them.
func (w *World) newRandom() *rand.ChaCha8 {
	w.vmCount++
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], w.seed)
	binary.LittleEndian.PutUint64(seed[8:], w.vmCount)
	return rand.NewChaCha8(seed)
}

func (v *vm) has(function string) bool { return v.functions[function] != nil }

func (v *vm) addContext(parent *vmContext) *vmContext {
	c := &vmContext{id: v.nextContextID, parent: parent}
	v.nextContextID++
	v.contexts[c.id] = c
	return c
}

// context returns the context that a hostcall acts on: the effective context if it was set and
// still exists, otherwise the context of the callback.
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

// callback calls the guest, and then carries out the actions that the callback deferred. It does
// nothing if the VM has failed or the guest does not export the callback; called is then false.
func (v *vm) callback(c *vmContext, name string, arguments ...uint64) (result uint32, called bool) {
	if v.failed || !v.has(name) {
		return 0, false
	}
	result, _ = v.enterCallback(c, name, arguments...)
	v.finishCallback()
	return result, true
}

// enterCallback is callback without the deferred actions. It returns false if the guest trapped.
func (v *vm) enterCallback(c *vmContext, name string, arguments ...uint64) (uint32, bool) {
	v.mustBeIdle(name)
	v.running = name
	defer func() { v.running = "" }()
	return v.enter(c, name, arguments...)
}

// finishCallback carries out what Envoy defers until a callback has returned: local replies, resets
// and continues. They may call the guest again.
//
// cpp-host: src/context.cc, DeferAfterCallActions.
func (v *vm) finishCallback() {
	v.stopIteration = false
	for len(v.deferred) > 0 {
		action := v.deferred[0]
		v.deferred = v.deferred[1:]
		action()
	}
}

// whenIdle carries out an action of Envoy's network on the guest. Inside of a call of the guest it
// is deferred until that call has returned.
//
// Envoy: context.cc, onHttpCallSuccess and onGrpcCloseWrapper.
func (v *vm) whenIdle(action func()) {
	switch {
	case v.current == nil:
		action()
	case v.reentered:
		// The deferred action defers itself again, and again.
		v.failedDeferring = true
	default:
		v.deferred = append(v.deferred, func() { v.whenIdle(action) })
	}
}

// reenter makes a callback in the middle of a hostcall. What the outer callback has deferred so far
// is carried out when the inner one returns. If a callout has failed before, Envoy never gets out
// of that, because the failure is deferred as long as there is an outer callback. Here the VM
// fails.
//
// cpp-host: src/context.cc, ~DeferAfterCallActions. Measured on Envoy 1.40.
func (v *vm) reenter(c *vmContext, name string, arguments ...uint64) {
	if v.failed || !v.has(name) {
		return
	}
	outer := v.running
	v.enter(c, name, arguments...)
	v.running, v.reentered = "", true
	v.finishCallback()
	v.running, v.reentered = outer, false
	if v.failedDeferring {
		v.failedDeferring = false
		v.pendingTrap = name + " in a hostcall, after a callout has failed in the same callback: Envoy hangs here"
	}
}

// mustBeIdle panics if the guest is in a callback. Only an interceptor that misuses the host can
// cause this.
func (v *vm) mustBeIdle(name string) {
	for _, w := range v.world.worlds {
		if other := w.Worker(v.thread).vm; other != nil && other.running != "" {
			panic(fmt.Sprintf("host: %s on %s while its VM is in %s: an interceptor may use only other workers",
				name, threadName(v.thread), other.running))
		}
	}
	if v.running != "" {
		panic(fmt.Sprintf("host: %s on %s while its VM is in %s", name, threadName(v.thread), v.running))
	}
}

// enter calls an exported function of the guest in context c. Calls nest, because a hostcall may
// make the guest allocate memory. So every call starts without an effective context, and restores
// that of the outer call when it returns. If the guest traps, the VM fails and enter returns 0 and
// false.
//
// cpp-host: include/proxy-wasm/wasm_vm.h, SaveRestoreContext.
func (v *vm) enter(c *vmContext, name string, arguments ...uint64) (uint32, bool) {
	current, effective, depth := v.current, v.effective, len(v.stacks)
	v.current, v.effective = c, 0
	v.stacks = append(v.stacks, callStack{})
	stack := v.stacks[depth][:]
	defer func() { v.current, v.effective, v.stacks = current, effective, v.stacks[:depth] }()

	returned := v.traceCallback(name, arguments)
	copy(stack, arguments)
	ctx, end := v.ctx, func() {}
	if limit := v.world.module.callLimit; limit > 0 {
		ctx, end = context.WithTimeout(ctx, limit)
	}
	defer end()
	if err := v.functions[name].CallWithStack(ctx, stack); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("it has not returned within %v", v.world.module.callLimit)
		}
		returned(0, false)
		v.rethrowHostPanic()
		v.panicking.join(v.world)
		v.fail(fmt.Sprintf("Function: %s failed: %v", name, err))
		return 0, false
	}
	returned(uint32(stack[0]), true)
	return uint32(stack[0]), true
}

// fail makes the VM unusable, as a trap does: the guest is never called again. Streams notice it at
// their next callback.
func (v *vm) fail(message string) {
	v.world.log(v.thread, LogError, message)
	v.failed = true
	v.pendingTrap = ""
}

func (v *vm) close() error {
	v.world.network.cancel(func(root *vmContext) bool { return v.contexts[root.id] == root })
	return v.instance.Close(v.ctx)
}

// guestTrap is the value of a panic in a host function that makes the guest trap.
type guestTrap string

func (t guestTrap) Error() string { return string(t) }

// hostPanic wraps any other panic in a host function: a bug of this package, or a panic of the
// test's interceptor. wazero would report it as a trap of the guest, so rethrowHostPanic raises it
// again outside of wazero.
type hostPanic struct {
	value any
	stack []byte
}

func (p hostPanic) Error() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

func (v *vm) recordHostPanic() {
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
