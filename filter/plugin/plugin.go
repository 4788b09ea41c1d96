// Package plugin is the filter as Envoy sees it: the callbacks of proxy-wasm, and nothing that could live without
// them. It is the only package that calls the host. What to do is decided by match (which rule), identity (which
// client), registry and policy (who comes in, who yields), and what is said by reply and admin; the callbacks here
// read, ask, act and count.
//
// Envoy starts the plugin more often than it has workers: twice on its main thread, and again for every
// configuration. Nothing tells those instances apart but that only a worker ever sees a stream, so a plugin context
// takes a slot, a queue and a timer when the first stream that needs them comes by, and not before.
package plugin

import (
	"math/rand/v2"
	"strconv"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/deadline"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/proxywasm"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// tickPeriodMs is how often a worker does its housekeeping. A worker that misses three of another's ticks is dead.
const tickPeriodMs = 1000

// New returns what makes the filter's plugins, which say version when they start: [proxywasm.Register] takes it.
func New(version string) func(contextID uint32) proxywasm.Plugin {
	return func(uint32) proxywasm.Plugin {
		p := &plugin{version: version, others: map[registry.RuleID]proxywasm.Gauge{}}
		// The runtime seeds this generator from the host's random source, one for every VM; it is ChaCha8.
		p.worker = registry.NewWorker(sharedData{}, sharedQueues{}, p, rand.Uint64)
		return p
	}
}

// plugin is one configuration in one VM: a worker of the registry from its first stream on.
type plugin struct {
	version string

	config  *config.Config
	matches *match.Set
	rules   []rule
	ids     map[registry.RuleID]*rule           // filled when the worker has joined
	others  map[registry.RuleID]proxywasm.Gauge // active streams of rules that only other configurations have
	counts  eventCounters

	worker  *registry.Worker
	joined  bool
	due     deadline.Queue[*candidate]
	leaving int    // streams that are saying goodbye
	key     []byte // scratch; cleared after use, for it has held a raw client key

	noisy, refusals limiter
}

// rule is a configured rule with what the plugin needs to apply it.
type rule struct {
	config.Rule
	id      registry.RuleID
	limits  policy.Limits
	metrics ruleMetrics
}

// Start reads the configuration. A faulty one is refused: Envoy then keeps what it had.
func (p *plugin) Start() bool {
	data, err := proxywasm.Configuration()
	if err != nil { // Envoy has none to give
		data = nil
	}
	c, err := config.Parse(data)
	if err != nil {
		proxywasm.LogError("configuration refused: " + err.Error())
		return false
	}
	conditions := make([]match.Conditions, len(c.Rules))
	p.rules = make([]rule, len(c.Rules))
	for i, r := range c.Rules {
		conditions[i] = r.Match
		p.rules[i] = rule{
			Rule:    r,
			metrics: defineRuleMetrics(r.Name),
			limits: policy.Limits{
				MaxStreams:    r.MaxStreams,
				RejectNew:     r.OnDuplicate == config.RejectNew,
				TakeoverLimit: r.TakeoverLimit,
			},
		}
	}
	if p.matches, err = match.New(conditions); err != nil {
		proxywasm.LogError("configuration refused: " + err.Error())
		return false
	}
	p.config = c
	p.worker.LimitTotal(c.MaxTotalStreams)
	showLimit(c)
	p.counts = defineEventCounters()
	announce(sharedData{}, "started version="+p.version+" config="+c.String())
	return true
}

// join makes this plugin context a worker of the registry, if it is not one yet. It is called in a callback of a
// stream; the queue and the timer belong to the plugin context all the same.
func (p *plugin) join(now int64) error {
	if err := p.worker.Join(now); err != nil {
		return err
	}
	if p.joined {
		return nil
	}
	if err := proxywasm.SetTickPeriod(tickPeriodMs); err != nil {
		return err
	}
	p.ids = make(map[registry.RuleID]*rule, len(p.rules))
	for i := range p.rules {
		r := &p.rules[i]
		id, err := p.worker.NameRule(r.Name)
		if err != nil {
			return err
		}
		r.id = id
		p.ids[id] = r
	}
	p.joined = true
	owner := p.worker.Owner()
	proxywasm.LogDebug("joined slot=" + strconv.Itoa(int(owner.Slot)) + " incarnation=" + strconv.FormatUint(owner.Incarnation, 16))
	return nil
}

// QueueReady is called when another worker has sent a message, or this one has recalled a stream.
func (p *plugin) QueueReady(queue uint32) {
	now := proxywasm.NowMs()
	streams, err := p.worker.Wake(now, queue)
	for _, s := range streams {
		s.Of.(*candidate).mustEnd(now)
	}
	p.warn(err)
}

// Tick is the worker's housekeeping.
func (p *plugin) Tick() {
	now := proxywasm.NowMs()
	ticked, err := p.worker.Tick(now)
	for _, late := range ticked.Claimed {
		c := late.Of.(*candidate)
		if late.Refusal != 0 {
			p.countRefusal(c.rule, late.Stream, late.Refusal, 0)
			c.refusal = late.Refusal
		}
		c.rule.countTakeovers(late.Stream, late.Superseded, now)
	}
	for _, s := range ticked.Released {
		s.Of.(*candidate).countRelease()
	}
	for _, s := range ticked.End {
		s.Of.(*candidate).mustEnd(now)
	}
	for range registry.EndsPerCall - len(ticked.End) {
		timer, due := p.due.Next(now)
		if !due {
			break
		}
		timer.Value.timeUp(now)
	}
	if ticked.Deaths > 0 { // also a plugin context that has drained after a configuration update
		proxywasm.LogDebug("dead workers=" + strconv.Itoa(ticked.Deaths))
	}
	if ticked.Swept > 0 {
		proxywasm.LogInfo("swept streams=" + strconv.Itoa(ticked.Swept))
	}
	p.warn(err)
}

// warn logs that a call of the registry or the host failed, not more often than once a second.
func (p *plugin) warn(err error) {
	if err != nil && p.noisy.allow(proxywasm.NowMs()) {
		proxywasm.LogWarn("failed error=" + strconv.Quote(err.Error()))
	}
}
