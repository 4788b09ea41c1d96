package host

import "strings"

// Call is one hostcall of the guest, as an interceptor sees it before it takes effect: see
// [Config.Intercept]. WASI calls are not intercepted.
//
// The interceptor decides when the call takes effect, if at all, and which status the guest gets.
// If it decides nothing, the call takes effect when the interceptor returns.
//
//	func(c *host.Call) {
//		if c.Name == "proxy_set_shared_data" && c.Worker == 0 {
//			world.Worker(1).Tick()               // another worker runs before the write
//			c.Proceed()                          // now worker 0 writes
//			world.Worker(1).Tick()               // and runs before worker 0 knows the result
//			c.Answer(host.StatusInternalFailure) // worker 0 is told that its write failed
//		}
//	}
//
// The interceptor may use all other workers, the clock, and everything that inspects the world. It
// must not use the worker that makes the call, nor a worker that waits in an outer interceptor,
// because a VM cannot be entered twice: that panics. [World.Run] and [World.Advance] skip such
// workers. A Call cannot be used after its interceptor has returned: that panics too.
type Call struct {
	Worker    int    // the worker that makes the call, or MainThread
	Name      string // the import, for example "proxy_set_shared_data"
	ContextID uint32 // the context it acts on, which proxy_set_effective_context may have changed
	Key       string // shared-data key, queue name, header name, property path or metric name; empty if it has none
	Queue     uint32 // queue token, for enqueue and dequeue

	perform   func() uint32 // nil after the interceptor has returned
	performed bool
	result    uint32 // what perform returned
	answered  bool
	answer    uint32 // the status for the guest, if answered is true
	trap      string
}

// Proceed carries out the call now and returns its status. A second Proceed has no effect and
// returns the same status.
func (c *Call) Proceed() Status {
	c.mustBeOpen("Proceed")
	if !c.performed {
		c.performed = true
		c.result = c.perform()
	}
	return Status(c.result)
}

// Answer sets the status that the guest gets. Without Proceed, the call has no effect and writes no
// results to guest memory. So Answer(StatusOk) alone loses an enqueue, and
// Answer(StatusCasMismatch) alone makes a conflict that never happened.
func (c *Call) Answer(s Status) {
	c.mustBeOpen("Answer")
	c.answered, c.answer = true, uint32(s)
}

// Trap makes the guest trap at this call, so that its VM fails. After Proceed the trap comes
// between the effect of the call and the next instruction of the guest. Without Proceed the call
// has no effect.
func (c *Call) Trap(reason string) {
	c.mustBeOpen("Trap")
	c.trap = "trap injected at " + c.Name + ": " + reason
}

func (c *Call) mustBeOpen(method string) {
	if c.perform == nil {
		panic("host: Call." + method + " after the interceptor returned")
	}
}

// runIntercepted carries out a hostcall, through the interceptor if there is one.
func (v *vm) runIntercepted(f *hostFunc, stack []uint64) uint32 {
	intercept := v.world.intercept
	if intercept == nil || !strings.HasPrefix(f.name, "proxy_") {
		return f.run(v, stack)
	}
	c := &Call{Worker: v.thread, Name: f.name, ContextID: v.context().id}
	if f.describe != nil {
		f.describe(v, stack, c)
	}
	c.perform = func() uint32 { return f.run(v, stack) }
	intercept(c)
	perform := c.perform
	c.perform = nil
	switch {
	case c.trap != "":
		v.pendingTrap = c.trap
		return c.result
	case c.answered:
		return c.answer
	case !c.performed && v.pendingTrap == "":
		return perform()
	}
	return c.result
}

// describeKey describes calls whose first two parameters are a name.
func describeKey(v *vm, a args, c *Call) {
	c.Key, _ = v.readString(a.u32(0), a.u32(1))
}

// describeKeyAt1 describes calls whose second and third parameters are a name.
func describeKeyAt1(v *vm, a args, c *Call) {
	c.Key, _ = v.readString(a.u32(1), a.u32(2))
}

// describeQueue describes calls whose first parameter is a queue token.
func describeQueue(_ *vm, a args, c *Call) { c.Queue = a.u32(0) }
