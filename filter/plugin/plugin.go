// Package plugin is the filter as Envoy sees it: the callbacks of proxy-wasm, and nothing that could live without
// them. It is the only package that calls the host. What to do is decided by match (which rule), identity (which
// client), registry and policy (who yields); the callbacks here read, ask, act and count.
//
// Envoy starts the plugin more often than it has workers: twice on its main thread, and again for every
// configuration. Nothing tells those instances apart but that only a worker ever sees a stream, so a plugin context
// takes a slot, a queue and a timer when the first stream that needs them comes by, and not before.
package plugin

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// tickPeriod is how often a worker does its housekeeping. A worker that misses three of another's ticks is dead.
const tickPeriod = time.Second

// Register makes the filter what this module does. It is called once, before the host calls anything.
func Register(version string) { proxywasm.SetVMContext(New(version)) }

// New returns the filter, which logs version when it starts.
func New(version string) types.VMContext { return &vm{version: version} }

type vm struct {
	types.DefaultVMContext
	version string
}

// NewPluginContext is called for every configuration that this VM serves.
func (v *vm) NewPluginContext(contextID uint32) types.PluginContext {
	p := &plugin{version: v.version, contextID: contextID, others: map[registry.RuleID]proxywasm.MetricGauge{}}
	// The runtime seeds this generator from the host's random source, one for every VM; it is ChaCha8.
	p.worker = registry.NewWorker(sharedData{}, sharedQueues{}, p, rand.Uint64)
	return p
}

// plugin is one configuration in one VM: a worker of the registry from its first stream on.
type plugin struct {
	types.DefaultPluginContext
	version   string
	contextID uint32

	matches *match.Set
	rules   []rule
	ids     map[registry.RuleID]*rule                 // filled when the worker has joined
	others  map[registry.RuleID]proxywasm.MetricGauge // active streams of rules that only other configurations have
	counts  eventCounters

	worker *registry.Worker
	joined bool
	key    []byte // scratch; cleared after use, for it has held a raw client key
	noisy  limiter
}

// rule is a configured rule with what the plugin needs to apply it.
type rule struct {
	config.Rule
	id      registry.RuleID
	metrics ruleMetrics
}

// OnPluginStart reads the configuration. A faulty one is refused: Envoy then keeps what it had.
func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	data, err := proxywasm.GetPluginConfiguration()
	if err != nil { // Envoy has none to give
		data = nil
	}
	c, err := config.Parse(data)
	if err != nil {
		proxywasm.LogError("configuration refused: " + err.Error())
		return types.OnPluginStartStatusFailed
	}
	conditions := make([]match.Conditions, len(c.Rules))
	p.rules = make([]rule, len(c.Rules))
	for i, r := range c.Rules {
		conditions[i] = r.Match
		p.rules[i] = rule{Rule: r, metrics: defineRuleMetrics(r.Name)}
	}
	if p.matches, err = match.New(conditions); err != nil {
		proxywasm.LogError("configuration refused: " + err.Error())
		return types.OnPluginStartStatusFailed
	}
	p.counts = defineEventCounters()
	announce(sharedData{}, "started version="+p.version+" config="+c.String())
	return types.OnPluginStartStatusOK
}

// NewHttpContext is called for every request that the filter is enabled for.
func (p *plugin) NewHttpContext(contextID uint32) types.HttpContext {
	return &stream{plugin: p, contextID: contextID}
}

// join makes this plugin context a worker of the registry, if it is not one yet. It is called in a callback of a
// stream; the queue and the timer belong to the plugin context all the same.
func (p *plugin) join() error {
	if err := p.worker.Join(); err != nil {
		return err
	}
	if p.joined {
		return nil
	}
	if err := proxywasm.SetTickPeriodMilliSeconds(uint32(tickPeriod.Milliseconds())); err != nil {
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

// OnQueueReady is called when another worker has sent a message.
func (p *plugin) OnQueueReady(queue uint32) {
	streams, err := p.worker.Wake(queue)
	p.reset(streams, reasonSuperseded)
	p.warn(err)
}

// OnTick is the worker's housekeeping.
func (p *plugin) OnTick() {
	now := nowMs()
	ticked, err := p.worker.Tick(now)
	p.reset(ticked.Superseded, reasonSuperseded)
	p.reset(ticked.Lost, reasonUnregistered)
	for _, t := range ticked.Takeovers {
		p.ids[t.By.Rule].countTakeovers(t.By, t.Yielding, now)
	}
	if ticked.Deaths > 0 { // also a plugin context that has drained after a configuration update
		proxywasm.LogDebug("dead workers=" + strconv.Itoa(ticked.Deaths))
	}
	if ticked.Swept > 0 {
		proxywasm.LogInfo("swept streams=" + strconv.Itoa(ticked.Swept))
	}
	p.warn(err)
}

// Why a stream was reset, for the access log.
const (
	reasonSuperseded   = "superseded"   // a newer stream of its client took its place
	reasonUnregistered = "unregistered" // it was not in the registry any more, and nobody had said why
)

// reset ends streams of this worker. Envoy carries it out when the running callback returns.
func (p *plugin) reset(streams []*registry.Stream, reason string) {
	for _, s := range streams {
		if err := proxywasm.SetEffectiveContext(s.Context); err != nil {
			continue // it has just ended by itself
		}
		if err := proxywasm.SetProperty(reasonProperty, []byte(reason)); err != nil {
			p.warn(err)
		}
		proxyCloseStream(responseStream)
		proxywasm.LogDebug("reset rule=" + p.ruleName(s.Rule) + " client=" + s.Client.Short() + " reason=" + reason)
	}
	if len(streams) > 0 {
		if err := proxywasm.SetEffectiveContext(p.contextID); err != nil {
			p.warn(err)
		}
	}
}

// responseStream is the stream type of proxy_close_stream.
const responseStream = 1

// reasonProperty is the filter state that access logs print as %FILTER_STATE(wasm.streamlatch.reason:PLAIN)%. It is
// one path element: Envoy joins several with NUL, and such a name cannot be printed.
var reasonProperty = []string{"streamlatch.reason"}

func (p *plugin) ruleName(id registry.RuleID) string {
	if r := p.ids[id]; r != nil {
		return r.Name
	}
	return "unknown"
}

// warn logs an error of the registry, not more often than once a second.
func (p *plugin) warn(err error) {
	if err != nil && p.noisy.allow(nowMs()) {
		proxywasm.LogWarn("registry error=" + strconv.Quote(err.Error()))
	}
}

func nowMs() int64 { return time.Now().UnixMilli() }
