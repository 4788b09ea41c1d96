package plugin

import (
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// stream is one request. Most are not candidates for an event stream and keep nothing but this.
type stream struct {
	types.DefaultHttpContext
	plugin    *plugin
	contextID uint32
	candidate *candidate
}

// candidate is a request that a rule wants tracked if its response is an event stream.
type candidate struct {
	registry.Stream
	rule     *rule
	openedAt int64 // Unix milliseconds of the response; 0: not an event stream, or not yet
}

// OnHttpRequestHeaders finds the request's rule and client. The client's key must be read here, for the request's
// headers are out of reach later; only its hash is kept.
func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	p := s.plugin
	i, ok := p.matches.First(requestHeaders{})
	if !ok {
		return types.ActionContinue
	}
	r := &p.rules[i]
	key, ok := r.Client.Append(p.key[:0], requestHeaders{})
	if ok {
		s.candidate = p.newCandidate(r, key, s.contextID)
	} else {
		r.metrics.noKey.Increment(1)
	}
	p.forget(key)
	return types.ActionContinue
}

// newCandidate returns nil if the registry cannot be joined: the request passes, untracked.
func (p *plugin) newCandidate(r *rule, key []byte, contextID uint32) *candidate {
	if err := p.join(); err != nil {
		p.warn(err)
		return nil
	}
	return &candidate{
		rule: r,
		Stream: registry.Stream{
			Client:  p.worker.Table().Client(r.Name, key),
			Rule:    r.id,
			Limits:  policy.Limits{MaxStreams: r.MaxStreams},
			Enforce: r.Mode == config.Enforce,
			Context: contextID,
		},
	}
}

// forget wipes a raw key and keeps its memory for the next one, unless it is of a size that no next one will need.
func (p *plugin) forget(key []byte) {
	const worthKeeping = 4 << 10
	key = key[:cap(key)]
	clear(key)
	if len(key) > worthKeeping {
		key = nil
	}
	p.key = key
}

// OnHttpResponseHeaders claims the client's place for a candidate that has turned out to be an event stream. Only now:
// an attempt that the backend turns away must not cost the client a healthy stream.
func (s *stream) OnHttpResponseHeaders(_ int, endOfStream bool) types.Action {
	c := s.candidate
	if c == nil {
		return types.ActionContinue
	}
	if !isEventStream(responseHeaders{}, endOfStream) {
		s.candidate = nil
		return types.ActionContinue
	}
	p := s.plugin
	now := nowMs()
	c.openedAt = now
	c.rule.metrics.opened.Increment(1)
	yielding, err := p.worker.Claim(now, &c.Stream)
	p.warn(err)
	c.rule.countTakeovers(&c.Stream, yielding, now)
	return types.ActionContinue
}

// countTakeovers counts and logs that streams had to yield to one of this worker's.
func (r *rule) countTakeovers(by *registry.Stream, yielding []policy.Stream, now int64) {
	for _, y := range yielding {
		age := uint64(max(0, now-y.ClaimedAt))
		r.metrics.superseded.Increment(1)
		r.metrics.supersededAge.Record(age)
		proxywasm.LogDebug("takeover rule=" + r.Name + " client=" + by.Client.Short() +
			" claim=" + strconv.FormatUint(y.Claim, 10) + " age_ms=" + strconv.FormatUint(age, 10))
	}
}

// OnHttpStreamDone ends the stream, for whatever reason.
func (s *stream) OnHttpStreamDone() {
	c := s.candidate
	if c == nil || c.openedAt == 0 {
		return
	}
	held, err := s.plugin.worker.Release(&c.Stream)
	s.plugin.warn(err)
	if held {
		c.rule.metrics.released.Increment(1)
	}
	duration := uint64(max(0, nowMs()-c.openedAt))
	c.rule.metrics.duration.Record(duration)
	proxywasm.LogDebug("ended rule=" + c.rule.Name + " client=" + c.Client.Short() +
		" held=" + strconv.FormatBool(held) + " duration_ms=" + strconv.FormatUint(duration, 10))
}
