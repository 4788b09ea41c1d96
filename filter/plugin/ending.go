package plugin

import (
	"github.com/streamlatch/streamlatch/filter/proxywasm"
	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/filter/reply"
)

// reason is why the filter has ended or refused a stream: in the access log, in the filter's log, and in the goodbye.
type reason string

const (
	superseded   reason = "superseded"   // a newer stream of its client took its place
	unregistered reason = "unregistered" // it was not in the registry any more, and nobody had said why
	dismissed    reason = "dismissed"    // an operator ended it
	expired      reason = "expired"      // it had its max_lifetime
	idle         reason = "idle"         // its backend was silent for its idle_timeout
	refused      reason = "refused_"     // and the refusal
)

// reasonProperty is the filter state that access logs print as %FILTER_STATE(wasm.streamlatch.reason:PLAIN)%.
const reasonProperty = "streamlatch.reason"

// mustEnd ends a stream that the registry wants ended or has recalled.
func (c *candidate) mustEnd(now int64) {
	switch {
	case c.goodbye.said:
		c.reset(c.goodbye.why)
		return
	case c.waits && c.Why() == 0:
		c.goOn()
		return
	}
	switch c.Why() {
	case registry.BySuccessor:
		c.end(superseded, now)
	case registry.ByItself: // the page has left this connection, and reads no goodbye
		c.reset(superseded)
	case registry.ByOperator:
		c.rule.metrics.dismissed.Add(1)
		c.end(dismissed, now)
	case registry.ByRefusal:
		c.end(refused+reason(c.refusal.String()), now)
	case registry.ByLoss:
		c.end(unregistered, now)
	}
}

// goOn ends the wait of a request for the streams that it superseded. The effective context is the stream's after it.
func (c *candidate) goOn() {
	c.waits = false
	c.plugin.due.Cancel(&c.timer)
	if err := proxywasm.SetEffectiveContext(c.Context); err != nil {
		return // it has just ended by itself
	}
	c.plugin.warn(proxywasm.ResumeRequest())
}

// timeUp looks at a stream whose timer was due.
func (c *candidate) timeUp(now int64) {
	switch {
	case c.waits:
		c.goOn()
	case c.goodbye.why == "" && c.Why() != 0: // superseded in a rule that observes: it would not have come so far
	case c.goodbye.why != "":
		c.reset(c.goodbye.why) // the upstream has sent nothing to put the goodbye after
	case c.expiresAt > 0 && now >= c.expiresAt:
		c.rule.metrics.expired.Add(1)
		c.endAtLimit(expired, now)
	case c.rule.IdleTimeout > 0 && now >= c.activeAt+int64(c.rule.IdleTimeout):
		c.rule.metrics.idle.Add(1)
		c.endAtLimit(idle, now)
	default:
		c.schedule() // bytes have come since
	}
}

// endAtLimit ends a stream for a limit of its own rule. In a rule that observes it gives its place back, as if it had
// ended, and goes on.
func (c *candidate) endAtLimit(why reason, now int64) {
	c.limit = why
	if c.Enforce {
		c.end(why, now)
		return
	}
	c.leave()
	proxywasm.LogDebug("would end rule=" + c.rule.Name + " client=" + c.Client.Short() + " reason=" + string(why))
}

// schedule sets the stream's timer to the first of its limits.
func (c *candidate) schedule() {
	at := c.expiresAt
	if timeout := int64(c.rule.IdleTimeout); timeout > 0 && (at == 0 || c.activeAt+timeout < at) {
		at = c.activeAt + timeout
	}
	if at > 0 {
		c.plugin.due.Schedule(&c.timer, at)
	}
}

// mostLeaving is how many streams of a worker may be saying goodbye. They have no place and count for no limit, and their
// timers take from the same tick as everybody's: a client must not be able to pile them up.
const mostLeaving = registry.EndsPerCall / 2

// end says goodbye to a stream, if its rule wants that and there is a way to, or resets it at once: an idle one has
// nothing coming that a goodbye could follow, and a dismissed one is to be gone.
func (c *candidate) end(why reason, now int64) {
	switch {
	case why == dismissed, why == idle, !c.goodbye.possible, c.plugin.leaving >= mostLeaving:
		c.reset(why)
	case c.goodbye.why != "": // it is on its way out, and says the last reason: an expired one that is superseded must wait
		c.goodbye.why = why
	default:
		c.goodbye.why = why
		c.plugin.leaving++
		c.plugin.due.Schedule(&c.timer, now+int64(c.rule.GoodbyeGrace))
	}
}

// reset ends a stream of this worker. Envoy carries it out when the running callback returns. The effective context is
// the stream's after it.
func (c *candidate) reset(why reason) {
	c.plugin.due.Cancel(&c.timer)
	if err := proxywasm.SetEffectiveContext(c.Context); err != nil {
		return // it has just ended by itself
	}
	c.plugin.warn(proxywasm.SetProperty(reasonProperty, string(why)))
	c.plugin.warn(proxywasm.ResetStream())
	proxywasm.LogDebug("reset rule=" + c.rule.Name + " client=" + c.Client.Short() + " reason=" + string(why))
}

// goodbye is the last event of a stream that its rule's goodbye_grace lets it have.
type goodbye struct {
	possible bool   // the rule wants one, and the response can take more bytes than its backend sends
	why      reason // set: it is to be said after the next chunk that ends an event
	tail     []byte // the last bytes so far
	said     bool   // nothing may follow
}

// canAppend reports whether bytes of the filter's own can follow those of the response: not if they are compressed, or
// if their number has been told.
func canAppend(h headers) bool {
	encoding, encoded := h.Header("content-encoding")
	_, counted := h.Header("content-length")
	return (!encoded || encoding == "identity") && !counted
}

// speak says the goodbye after the chunk of the body that is passing, if it is time to and the chunk ends an event.
func (c *candidate) speak(size int) {
	g := &c.goodbye
	if g.said {
		c.plugin.warn(proxywasm.DropResponseBody())
		return
	}
	n := min(size, reply.TailSize)
	last, err := proxywasm.ResponseBody(size-n, n)
	if err != nil {
		c.plugin.warn(err)
		return
	}
	g.tail = append(g.tail, last...)
	g.tail = append(g.tail[:0], g.tail[max(0, len(g.tail)-reply.TailSize):]...)
	if g.why == "" || !reply.AtEventEnd(g.tail) {
		return
	}
	retry := c.rule.Retry + jitter(c.rule.Retry/4)
	if g.why == expired {
		retry = 0 // it is welcome back
	}
	if err := proxywasm.AppendResponseBody(reply.Goodbye(string(g.why), retry)); err != nil {
		c.plugin.warn(err)
		return
	}
	g.said = true
	// A reset in this callback would take the chunk with it. If the recall is lost, the grace ends it.
	c.plugin.warn(c.plugin.worker.Recall(proxywasm.NowMs(), &c.Stream))
}
