package plugin

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"github.com/streamlatch/streamlatch/filter/registry"
)

// ruleMetrics are the metrics of one rule, streamlatch.<rule>.<name>. Envoy adds up what all workers report.
type ruleMetrics struct {
	opened        proxywasm.MetricCounter
	superseded    proxywasm.MetricCounter
	released      proxywasm.MetricCounter
	noKey         proxywasm.MetricCounter
	active        proxywasm.MetricGauge
	supersededAge proxywasm.MetricHistogram
	duration      proxywasm.MetricHistogram
}

func defineRuleMetrics(rule string) ruleMetrics {
	prefix := metricPrefix + rule + "."
	return ruleMetrics{
		opened:        proxywasm.DefineCounterMetric(prefix + "opened"),
		superseded:    proxywasm.DefineCounterMetric(prefix + "superseded"),
		released:      proxywasm.DefineCounterMetric(prefix + "released"),
		noKey:         proxywasm.DefineCounterMetric(prefix + "no_key"),
		active:        defineActive(rule),
		supersededAge: proxywasm.DefineHistogramMetric(prefix + "superseded_age_ms"),
		duration:      proxywasm.DefineHistogramMetric(prefix + "duration_ms"),
	}
}

const metricPrefix = "streamlatch."

// eventCounters count what the registry reports, per Envoy and not per rule.
type eventCounters map[registry.Event]proxywasm.MetricCounter

func defineEventCounters() eventCounters {
	counters := eventCounters{}
	for _, e := range []registry.Event{registry.Contended, registry.Malformed, registry.Swept, registry.LostWakeup} {
		counters[e] = proxywasm.DefineCounterMetric(metricPrefix + e.String())
	}
	return counters
}

// Active implements [registry.Meter]. The gauge follows the registry's content and not this worker's streams, so that
// it stays true when a worker dies and others remove what it left: also streams of a rule that this configuration does
// not have, but an earlier one or another listener's.
func (p *plugin) Active(id registry.RuleID, delta int) {
	if r := p.ids[id]; r != nil {
		r.metrics.active.Add(int64(delta))
		return
	}
	gauge, known := p.others[id]
	if !known {
		name, err := p.worker.RuleName(id)
		if err != nil {
			p.warn(err)
			return
		}
		gauge = defineActive(name)
		p.others[id] = gauge
	}
	gauge.Add(int64(delta))
}

// defineActive returns the gauge of a rule's streams in the registry.
func defineActive(rule string) proxywasm.MetricGauge {
	return proxywasm.DefineGaugeMetric(metricPrefix + rule + ".active")
}

// Count implements [registry.Meter].
func (p *plugin) Count(event registry.Event, n int) {
	p.counts[event].Increment(uint64(n))
}
