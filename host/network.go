package host

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// network holds the callouts of all threads that wait for an answer, oldest first.
type network struct {
	clusters map[string]http.Handler
	open     []openCallout
}

// openCallout is an *HTTPCall or a *GRPCCall.
type openCallout interface {
	common() *callout
	expire()              // the time-out
	servable() bool       // a handler could answer now
	serve(h http.Handler) // answer with what a handler answers
}

// NoEndpoints is a cluster that has no endpoints, for [Config.Clusters]. Envoy knows at once that a
// callout to it fails.
var NoEndpoints http.Handler = noEndpoints{}

type noEndpoints struct{}

func (noEndpoints) ServeHTTP(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// A ResetReason says how Envoy lost a callout. Envoy writes it into the reply that the guest gets.
type ResetReason string

// The reset reasons that a test can use.
const (
	ConnectionFailure     ResetReason = "remote connection failure" // nobody listens there
	ConnectionTermination ResetReason = "connection termination"    // the connection was closed, as HTTP/1.1 does
	RemoteReset           ResetReason = "remote reset"              // the stream was reset, as HTTP/2 does
)

// callout is what HTTP and gRPC callouts have in common.
type callout struct {
	Worker    int    // the worker that sent it, or MainThread
	ContextID uint32 // of the plugin that sent it, which gets the answer
	Token     uint32 // by which the guest knows it

	Cluster string
	Timeout time.Duration // 0: none
	Sent    time.Time     // on the virtual clock

	world     *World
	root      *vmContext
	vm        *vm
	answered  bool // the answer is complete, or the upstream has cut it off
	cancelled bool // Envoy has given up
}

func (c *callout) common() *callout { return c }

func (v *vm) newCallout(kind uint32, cluster string, timeout time.Duration) callout {
	root := v.context().root()
	return callout{
		Worker: v.thread, ContextID: root.id, Token: v.nextToken(kind),
		Cluster: cluster, Timeout: timeout, Sent: v.world.now,
		world: v.world, root: root, vm: v,
	}
}

// nextToken returns the token of the next callout. Each kind counts for itself, in steps of 4.
//
// cpp-host: include/proxy-wasm/wasm.h, nextHttpCallId.
func (v *vm) nextToken(kind uint32) uint32 {
	v.callouts[kind]++
	return v.callouts[kind]<<2 | kind
}

// Done reports whether nothing more can be answered: the answer is complete, the upstream has reset
// it, or Envoy has given up.
func (c *callout) Done() bool { return c.answered || c.cancelled }

// Cancelled reports whether Envoy has given up before there was an answer: after the time-out,
// because the guest has cancelled the callout, or because its plugin context or VM has ended. The
// upstream sees a reset then. An answer to a cancelled callout has no effect.
func (c *callout) Cancelled() bool { return c.cancelled }

// mustBeOpen panics if the test has already answered. It returns false if Envoy has given up, so
// that an answer arrives nowhere.
func (c *callout) mustBeOpen(method string) bool {
	if c.answered {
		panic(fmt.Sprintf("host: %s after the answer was complete", method))
	}
	return !c.cancelled
}

// isAlive reports whether the plugin context that sent the callout still exists.
func (c *callout) isAlive() bool { return !c.vm.failed && c.vm.contexts[c.root.id] == c.root }

// leave takes the callout off the network.
func (c *callout) leave() {
	n := c.world.network
	n.open = slices.DeleteFunc(n.open, func(other openCallout) bool { return other.common() == c })
}

// busy reports whether the guest is in a call on the thread of this callout.
func (c *callout) busy() bool { return c.world.Worker(c.Worker).busy() }

// upstreamTime is the value of x-envoy-upstream-service-time now, in milliseconds.
func (c *callout) upstreamTime() int64 { return c.world.now.Sub(c.Sent).Milliseconds() }

// cancel gives up the callouts of the plugin contexts that match.
//
// Envoy: context.cc, ~Context.
func (n *network) cancel(match func(*vmContext) bool) {
	n.open = slices.DeleteFunc(n.open, func(o openCallout) bool {
		c := o.common()
		c.cancelled = c.cancelled || match(c.root)
		return c.cancelled
	})
}

// nextTimeout returns when the next callout times out, and what to do then. It leaves out callouts
// of busy threads.
func (n *network) nextTimeout() (due time.Time, expire func()) {
	for _, o := range n.open {
		c := o.common()
		if at := c.Sent.Add(c.Timeout); c.Timeout > 0 && !c.busy() && (expire == nil || at.Before(due)) {
			due, expire = at, o.expire
		}
	}
	return due, expire
}

// serve lets the handler of a cluster answer the oldest callout that a handler can answer and that
// is wanted. It returns false if there is none.
func (n *network) serve(wanted func(thread int) bool) bool {
	for _, o := range n.open {
		c := o.common()
		if handler := n.clusters[c.Cluster]; handler != nil && o.servable() && wanted(c.Worker) && !c.busy() {
			o.serve(handler)
			return true
		}
	}
	return false
}

// resetReply is the body of the reply that Envoy's router makes for a callout that was cut off.
//
// Envoy: source/common/router/router.cc, onUpstreamReset. Measured on Envoy 1.40.
func resetReply(reason ResetReason) string {
	return "upstream connect error or disconnect/reset before headers. reset reason: " + string(reason)
}

// timeoutReply is the body of the reply that Envoy's router makes for a callout that took too long.
//
// Envoy: source/common/router/router.cc, onResponseTimeout. Measured on Envoy 1.40.
const timeoutReply = "upstream request timeout"
