package plugin

import (
	"errors"
	"math/rand/v2"
	"strconv"

	"github.com/streamlatch/streamlatch/filter/admin"
	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/deadline"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/proxywasm"
	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/filter/reply"
)

// candidate is a request that a rule wants tracked if its response is an event stream. Of other requests nothing is
// kept.
type candidate struct {
	registry.Stream
	plugin   *plugin
	rule     *rule
	reader   reply.Reader
	claimed  bool  // it is the worker's
	waits    bool  // its request is paused
	openedAt int64 // Unix milliseconds of the response; 0: not an event stream, or not yet

	timer     deadline.Timer[*candidate] // the next of what follows
	expiresAt int64                      // Unix milliseconds; 0: never
	activeAt  int64                      // Unix milliseconds of the last upstream bytes, if the rule has an idle timeout
	goodbye   goodbye
	limit     reason         // the limit of its rule that has ended it, or would have
	refusal   policy.Refusal // of a claim that was made late, by a tick
}

// RequestHeaders finds the request's rule and client. The client's key must be read here, for the request's headers are
// out of reach later; only its hash is kept.
func (p *plugin) RequestHeaders(contextID uint32) (proxywasm.Stream, proxywasm.Action) {
	if p.config.AdminPath != "" {
		if path, _ := proxywasm.RequestHeader(":path"); admin.Covers(p.config.AdminPath, path) {
			p.administer(path)
			return nil, proxywasm.Pause
		}
	}
	i, ok := p.matches.First(requestHeaders{})
	if !ok {
		return nil, proxywasm.Continue
	}
	r := &p.rules[i]
	key, ok := r.Client.Append(p.key[:0], requestHeaders{})
	if !ok {
		r.metrics.noKey.Add(1)
		p.forget(key)
		return nil, proxywasm.Continue
	}
	now := proxywasm.NowMs()
	c := p.newCandidate(r, key, contextID, now)
	if c == nil {
		return nil, proxywasm.Continue
	}
	switch c.comeIn(now) {
	case turnedAway:
		return nil, proxywasm.Pause
	case untracked:
		return nil, proxywasm.Continue
	}
	if c.Awaits() > 0 {
		c.waits = true
		p.due.Schedule(&c.timer, now+mostWaitMs)
		return c, proxywasm.Pause
	}
	return c, proxywasm.Continue
}

// mostWaitMs is how long a request waits for the streams that it superseded to end: there may be nobody to tell it.
const mostWaitMs = 1000

// newCandidate returns nil if the registry cannot be joined: the request passes, untracked. It wipes the key.
func (p *plugin) newCandidate(r *rule, key []byte, contextID uint32, now int64) *candidate {
	defer func() { p.forget(key) }()
	if err := p.join(now); err != nil {
		p.warn(err)
		return nil
	}
	c := &candidate{
		plugin: p,
		rule:   r,
		Stream: registry.Stream{
			Client:  p.worker.Table().Client(r.Name, key),
			Rule:    r.id,
			Limits:  r.limits,
			Enforce: r.Mode == config.Enforce,
			// A backend that turns a client away while its old stream lives must not see the request before that has
			// ended. With a goodbye it may live for long.
			Wait:    r.ClaimAt == config.AtRequest && r.GoodbyeGrace == 0,
			Context: contextID,
		},
	}
	c.Of, c.timer.Value = c, c
	if len(r.Instance) > 0 {
		var ok bool
		if key, ok = r.Instance.Append(key[:0], requestHeaders{}); ok {
			c.Instance = p.worker.Table().Instance(c.Client, key)
		}
	}
	return c
}

// forget wipes the scratch that a raw key was put together in, and keeps its memory for the next one, unless it is of a
// size that no next one will need. What the host handed over of the request is left to the garbage collector.
func (p *plugin) forget(key []byte) {
	const worthKeeping = 4 << 10
	key = key[:cap(key)]
	clear(key)
	if len(key) > worthKeeping {
		key = nil
	}
	p.key = key
}

// admission is what became of a candidate that asked to come in.
type admission int

const (
	tracked    admission = iota + 1 // it may go on
	untracked                       // it would have been turned away, had its rule done more than observe
	turnedAway                      // it has been answered
)

// comeIn does what is to be done with a candidate before the backend hears of it. A rule that claims at the response
// refuses here only what is sure to become an event stream: a POST that would have been answered with JSON must not be
// turned away for the streams that its client has.
func (c *candidate) comeIn(now int64) admission {
	accept, _ := proxywasm.RequestHeader("accept")
	method, _ := proxywasm.RequestHeader(":method")
	c.reader = reply.ReaderOf(method, accept)
	if c.rule.ClaimAt == config.AtRequest {
		return c.claim(now)
	}
	if !reply.WantsStream(method, accept) {
		return tracked
	}
	verdict, err := c.plugin.worker.Peek(now, &c.Stream)
	c.plugin.warn(err)
	if verdict.Refusal != 0 {
		return c.refuse(verdict)
	}
	return tracked
}

// claim takes the client's place for the candidate.
func (c *candidate) claim(now int64) admission {
	p := c.plugin
	verdict, err := p.worker.Claim(now, &c.Stream)
	p.warn(err)
	if errors.Is(err, registry.ErrContended) && p.config.OnContention == config.Refuse {
		_, err := p.worker.Release(&c.Stream)
		p.warn(err)
		verdict.Refusal = policy.Contended
	}
	if verdict.Refusal != 0 {
		return c.refuse(verdict)
	}
	c.claimed = true
	c.rule.countTakeovers(&c.Stream, verdict.Superseded, now)
	return tracked
}

// refuse counts that the candidate may not come in, and turns it away, unless its rule only observes.
func (c *candidate) refuse(v policy.Verdict) admission {
	p := c.plugin
	retry := c.rule.Retry
	if v.Refusal == policy.TakeoverLimit {
		retry = v.Wait
	}
	retry += jitter(retry / 4)
	p.countRefusal(c.rule, &c.Stream, v.Refusal, retry)
	if !c.Enforce {
		return untracked
	}
	p.warn(proxywasm.SetProperty(reasonProperty, string(refused)+v.Refusal.String()))
	response := reply.Refusal(v.Refusal, c.reader, retry)
	if err := proxywasm.SendResponse(response.Status, response.Headers, response.Body); err != nil {
		p.warn(err)
		return untracked
	}
	return turnedAway
}

// countRefusal counts a refusal, and logs it: one a second at info, all at debug.
func (p *plugin) countRefusal(r *rule, s *registry.Stream, why policy.Refusal, retry policy.Millis) {
	r.metrics.refused[why].Add(1)
	line := "refused rule=" + r.Name + " client=" + s.Client.Short() + " reason=" + why.String() +
		" retry_ms=" + strconv.FormatInt(int64(retry), 10) + " mode=" + r.Mode.String()
	if p.refusals.allow(proxywasm.NowMs()) {
		proxywasm.LogInfo(line)
	} else {
		proxywasm.LogDebug(line)
	}
}

// jitter is a random part of at most most.
func jitter(most policy.Millis) policy.Millis {
	return policy.Millis(rand.Int64N(int64(max(0, most)) + 1))
}

// ResponseHeaders claims the client's place for a candidate that has turned out to be an event stream. Only now, unless
// its rule says otherwise: an attempt that the backend turns away must not cost the client a healthy stream.
func (c *candidate) ResponseHeaders(endOfStream bool) proxywasm.Action {
	if !isEventStream(responseHeaders{}, endOfStream) {
		c.leave() // what it claimed at the request, for nothing
		return proxywasm.Continue
	}
	now := proxywasm.NowMs()
	if c.rule.ClaimAt == config.AtResponse {
		switch c.claim(now) {
		case turnedAway:
			return proxywasm.Pause
		case untracked:
			return proxywasm.Continue
		}
	}
	c.openedAt, c.activeAt = now, now
	c.rule.metrics.opened.Add(1)
	if lifetime := c.rule.MaxLifetime; lifetime > 0 {
		c.expiresAt = now + max(1, int64(lifetime-jitter(lifetime*policy.Millis(c.rule.LifetimeJitterPercent)/100)))
	}
	if c.rule.GoodbyeGrace > 0 && c.Enforce {
		c.goodbye.possible = canAppend(responseHeaders{})
	}
	c.schedule()
	return proxywasm.Continue
}

// countTakeovers counts and logs that streams had to yield to one of this worker's.
func (r *rule) countTakeovers(by *registry.Stream, yielding []policy.Stream, now int64) {
	for _, y := range yielding {
		age := uint64(max(0, now-y.ClaimedAt))
		r.metrics.superseded.Add(1)
		r.metrics.supersededAge.Record(age)
		proxywasm.LogDebug("takeover rule=" + r.Name + " client=" + by.Client.Short() +
			" claim=" + strconv.FormatUint(y.Claim, 10) + " age_ms=" + strconv.FormatUint(age, 10))
	}
}

// ResponseBody sees the upstream's bytes pass.
func (c *candidate) ResponseBody(size int, endOfStream bool) {
	if c.openedAt == 0 || size == 0 {
		return
	}
	if c.rule.IdleTimeout > 0 {
		c.activeAt = proxywasm.NowMs()
	}
	if c.goodbye.possible && (!endOfStream || c.goodbye.said) {
		c.speak(size)
	}
}

// Done ends the stream, for whatever reason.
func (c *candidate) Done() {
	held := c.leave()
	if c.openedAt == 0 { // it was no event stream, or not yet
		return
	}
	if held {
		c.countRelease()
	}
	duration := uint64(max(0, proxywasm.NowMs()-c.openedAt))
	c.rule.metrics.duration.Record(duration)
	proxywasm.LogDebug("ended rule=" + c.rule.Name + " client=" + c.Client.Short() +
		" held=" + strconv.FormatBool(held) + " duration_ms=" + strconv.FormatUint(duration, 10))
}

// countRelease counts a stream that held its place to its end, which was not the filter's doing.
func (c *candidate) countRelease() {
	if c.openedAt != 0 && c.limit == "" {
		c.rule.metrics.released.Add(1)
	}
}

// leave gives the client's place back, if the candidate has it, and reports whether it had it until now.
func (c *candidate) leave() (held bool) {
	if !c.claimed {
		return false
	}
	c.claimed = false
	c.plugin.due.Cancel(&c.timer)
	if c.goodbye.why != "" {
		c.plugin.leaving--
	}
	held, err := c.plugin.worker.Release(&c.Stream)
	c.plugin.warn(err)
	return held
}
