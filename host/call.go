package host

import "strings"

// Call is one hostcall of a guest, as [Config.Intercept] sees it: made, and not
// yet carried out. WASI calls are not shown.
//
// The interceptor decides when the call takes effect, if at all, and what the
// guest is told. If it does nothing the call is carried out when it returns.
//
//	func(c *host.Call) {
//		if c.Name == "proxy_set_shared_data" && c.Worker == 0 {
//			world.Worker(1).Tick() // another worker comes in between
//			c.Proceed()            // now worker 0 writes
//			world.Worker(1).Tick() // and again, before worker 0 learns the result
//			c.Answer(host.StatusInternalFailure) // which is a lie
//		}
//	}
//
// Inside it the test may use all other workers, the clock and the world's
// inspection methods, but not the worker that is making the call, nor one that
// waits in an interceptor further out: a VM cannot be entered twice, and the
// attempt panics. [World.Run] and [World.Advance] pass over such workers. Use of
// the Call after the interceptor returned panics too.
type Call struct {
	Worker    int    // MainThread for the instances on the main thread
	Name      string // the import, for example "proxy_set_shared_data"
	ContextID uint32 // the context it is attributed to: see proxy_set_effective_context
	Key       string // shared-data key, queue name, header, property path or metric name, if the call has one
	Queue     uint32 // queue token of an enqueue or dequeue

	perform   func() uint32 // nil when the call is over
	performed bool
	result    uint32 // of perform
	answered  bool
	answer    uint32 // what the guest is told, if answered
	trap      string
}

// Proceed carries the call out now and returns its status. Later calls return
// the same status without effect.
func (c *Call) Proceed() Status {
	c.mustBeOpen("Proceed")
	if !c.performed {
		c.performed = true
		c.result = c.perform()
	}
	return Status(c.result)
}

// Answer settles what the guest is told. Without a Proceed the call has no effect
// and its results in guest memory stay unwritten: so a lost enqueue is Answer(StatusOk)
// alone, a storm of conflicts Answer(StatusCasMismatch).
func (c *Call) Answer(s Status) {
	c.mustBeOpen("Answer")
	c.answered, c.answer = true, uint32(s)
}

// Trap makes the guest trap at this call: its VM has failed. After a Proceed it
// is a crash between the effect and the guest's next instruction; without one the
// call has no effect.
func (c *Call) Trap(reason string) {
	c.mustBeOpen("Trap")
	c.trap = "trap injected at " + c.Name + ": " + reason
}

func (c *Call) mustBeOpen(method string) {
	if c.perform == nil {
		panic("host: Call." + method + " after the interceptor returned")
	}
}

// intercepted carries out a hostcall, by way of the interceptor if there is one.
func (v *vm) intercepted(f *hostFunc, stack []uint64) uint32 {
	intercept := v.world.intercept
	if intercept == nil || !strings.HasPrefix(f.name, "proxy_") {
		return f.run(v, stack)
	}
	c := &Call{Worker: v.thread, Name: f.name, ContextID: v.context().id}
	if f.subject != nil {
		f.subject(v, stack, c)
	}
	c.perform = func() uint32 { return f.run(v, stack) }
	intercept(c)
	perform := c.perform
	c.perform = nil
	switch {
	case c.trap != "":
		v.doomed = c.trap
		return c.result
	case c.answered:
		return c.answer
	case !c.performed && v.doomed == "":
		return perform()
	}
	return c.result
}

// subjectKey is the subject of calls whose first two parameters are a name.
func subjectKey(v *vm, a args, c *Call) {
	c.Key, _ = v.text(a.u32(0), a.u32(1))
}

// subjectKeyAt1 is the subject of calls that have a number before the name.
func subjectKeyAt1(v *vm, a args, c *Call) {
	c.Key, _ = v.text(a.u32(1), a.u32(2))
}

// subjectQueue is the subject of calls whose first parameter is a queue token.
func subjectQueue(_ *vm, a args, c *Call) { c.Queue = a.u32(0) }
