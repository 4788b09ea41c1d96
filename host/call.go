package host

import (
	"fmt"
	"strings"
)

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

	vm       *vm
	function *hostFunc
	numbers  args

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
		if c.vm.world.config.Trace != nil {
			c.vm.trace("%s", c)
		}
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

// Arguments returns what the guest gives to the call, in the order of the ABI.
func (c *Call) Arguments() []Argument {
	c.mustBeOpen("Arguments")
	return c.function.arguments(c.vm, c.numbers, false)
}

// Argument returns the value of one argument: see [Argument]. It panics if the call has none of
// this name; [Call.String] shows the names.
func (c *Call) Argument(name string) any {
	arguments := c.Arguments()
	for _, a := range arguments {
		if a.Name == name {
			return a.Value
		}
	}
	panic(fmt.Sprintf("host: %s has no argument %q", c, name))
}

// Results returns what the call has written for the guest, besides its status. It is nil before
// Proceed, and if the status is not Ok.
func (c *Call) Results() []Argument {
	c.mustBeOpen("Results")
	if !c.performed || Status(c.result) != StatusOk {
		return nil
	}
	return c.function.arguments(c.vm, c.numbers, true)
}

// String returns the call with its arguments and, after Proceed, with its status and results:
//
//	proxy_get_shared_data(key="n") = Ok, value="1", cas=3
func (c *Call) String() string {
	s := c.Name + "(" + joinArguments(c.Arguments()) + ")"
	if c.performed {
		s += " = " + Status(c.result).String()
	}
	if results := c.Results(); len(results) > 0 {
		s += ", " + joinArguments(results)
	}
	return s
}

// runIntercepted carries out a hostcall, through the interceptor and the trace if there are any.
func (v *vm) runIntercepted(f *hostFunc, stack []uint64) uint32 {
	intercept, traced := v.world.intercept, v.world.config.Trace != nil
	if intercept == nil && !traced || !strings.HasPrefix(f.name, "proxy_") {
		return f.run(v, stack)
	}
	c := &Call{Worker: v.thread, Name: f.name, ContextID: v.context().id, vm: v, function: f, numbers: stack}
	c.describe()
	c.perform = func() uint32 { return f.run(v, stack) }
	defer func() { c.perform = nil }()
	if intercept != nil {
		intercept(c)
	}
	if !c.performed && c.trap == "" && !c.answered && v.pendingTrap == "" {
		c.Proceed()
	}
	switch {
	case c.trap != "":
		v.pendingTrap = c.trap
	case c.answered:
		if traced && !c.performed {
			v.trace("%s is not carried out; the guest is told %v", c, Status(c.answer))
		} else if traced {
			v.trace("the guest is told %v", Status(c.answer))
		}
		return c.answer
	}
	return c.result
}

// describe fills Key and Queue.
func (c *Call) describe() {
	if c.function.key != nil {
		c.Key = c.function.key(c.vm, c.numbers)
	}
	for _, p := range c.function.parameters {
		switch {
		case p.result:
		case p.kind == "string" && c.function.key == nil:
			c.Key, _ = c.vm.readString(c.numbers.u32(p.index), c.numbers.u32(p.index+1))
		case p.name == "queue":
			c.Queue = c.numbers.u32(p.index)
		}
	}
}
