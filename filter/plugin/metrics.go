package plugin

import (
	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/proxywasm"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// ruleMetrics are the metrics of one rule, streamlatch.<rule>.<name>. Envoy adds up what all workers report.
type ruleMetrics struct {
	opened        proxywasm.Counter
	superseded    proxywasm.Counter
	released      proxywasm.Counter
	dismissed     proxywasm.Counter
	expired       proxywasm.Counter
	idle          proxywasm.Counter
	noKey         proxywasm.Counter
	refused       map[policy.Refusal]proxywasm.Counter
	active        proxywasm.Gauge
	supersededAge proxywasm.Histogram
	duration      proxywasm.Histogram
}

func defineRuleMetrics(rule string) ruleMetrics {
	prefix := metricPrefix + rule + "."
	refused := map[policy.Refusal]proxywasm.Counter{}
	for _, why := range policy.Refusals {
		refused[why] = proxywasm.DefineCounter(prefix + "refused_" + why.String())
	}
	return ruleMetrics{
		opened:        proxywasm.DefineCounter(prefix + "opened"),
		superseded:    proxywasm.DefineCounter(prefix + "superseded"),
		released:      proxywasm.DefineCounter(prefix + "released"),
		dismissed:     proxywasm.DefineCounter(prefix + "dismissed"),
		expired:       proxywasm.DefineCounter(prefix + "expired"),
		idle:          proxywasm.DefineCounter(prefix + "idle"),
		refused:       refused,
		noKey:         proxywasm.DefineCounter(prefix + "no_key"),
		active:        defineActive(rule),
		supersededAge: proxywasm.DefineHistogram(prefix + "superseded_age_ms"),
		duration:      proxywasm.DefineHistogram(prefix + "duration_ms"),
	}
}

const metricPrefix = "streamlatch."

// showLimit sets the gauge of max_total_streams, which stands beside the streams that it limits. There is one gauge for
// all configurations of an Envoy: it shows the limit of the one that was started last, as an update is. One without
// rules lets nobody in and so has no limit to show; the listener for operators is such a one.
func showLimit(c *config.Config) {
	if len(c.Rules) > 0 {
		proxywasm.DefineGauge(metricPrefix + "max_total_streams").Set(c.MaxTotalStreams)
	}
}

// eventCounters count what the registry reports, per Envoy and not per rule.
type eventCounters map[registry.Event]proxywasm.Counter

func defineEventCounters() eventCounters {
	counters := eventCounters{}
	for _, e := range []registry.Event{registry.Contended, registry.Malformed, registry.Swept, registry.LostWakeup} {
		counters[e] = proxywasm.DefineCounter(metricPrefix + e.String())
	}
	return counters
}

// Active implements [registry.Meter]. The gauge follows the registry's content and not this worker's streams, so that
// it stays true when a worker dies and others remove what it left: also streams of a rule that this configuration does
// not have, but an earlier one or another listener's.
func (p *plugin) Active(id registry.RuleID, delta int) {
	if r := p.ids[id]; r != nil {
		r.metrics.active.Add(delta)
		return
	}
	gauge, known := p.others[id]
	if !known {
		rules, err := p.worker.Rules()
		if err != nil {
			p.warn(err)
			return
		}
		if rules[id] == "" { // a name that was malformed, or one too many
			return
		}
		gauge = p.active(id, rules[id])
	}
	gauge.Add(delta)
}

// active returns the gauge of a rule of any configuration.
func (p *plugin) active(id registry.RuleID, name string) proxywasm.Gauge {
	gauge, known := p.others[id]
	if !known {
		gauge = defineActive(name)
		p.others[id] = gauge
	}
	return gauge
}

// defineActive returns the gauge of a rule's streams in the registry.
func defineActive(rule string) proxywasm.Gauge {
	return proxywasm.DefineGauge(metricPrefix + rule + ".active")
}

// Count implements [registry.Meter].
func (p *plugin) Count(event registry.Event, n int) {
	p.counts[event].Add(n)
}
