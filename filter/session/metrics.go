package session

import (
	"fmt"

	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
)

const metricPrefix = "streamlatch."

// ruleMetrics are the metrics of one rule, streamlatch.<rule>.<name>.
type ruleMetrics struct {
	matched, opened, superseded, released, dismissed, expired, idle Metric

	noKey                   Metric
	noKeyLater              []Metric // of those: by the missing source, if it is not the first
	refused                 map[policy.Refusal]Metric
	active                  Metric
	supersededAge, duration Metric
}

// laterSources are how metrics name the sources of a rule's client after the first. The shipped
// stats_tags allow no digits there.
var laterSources = [...]string{"second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"}

// defineNoKey returns the counters of requests without a key, for a rule with so many sources.
func (w *Worker) defineNoKey(rule string, sources int) (all Metric, later []Metric) {
	all = w.define(Counter, metricPrefix+rule+".no_key")
	for _, name := range laterSources[:min(max(sources, 1)-1, len(laterSources))] {
		later = append(later, w.define(Counter, metricPrefix+rule+".no_key_"+name))
	}
	return all, later
}

func (w *Worker) defineRuleMetrics(rule string, sources int) ruleMetrics {
	counter := func(name string) Metric { return w.define(Counter, metricPrefix+rule+"."+name) }
	histogram := func(name string) Metric { return w.define(Histogram, metricPrefix+rule+"."+name) }
	refused := map[policy.Refusal]Metric{}
	for _, why := range policy.Refusals {
		refused[why] = counter("refused_" + why.String())
	}
	noKey, noKeyLater := w.defineNoKey(rule, sources)
	return ruleMetrics{
		matched:       counter("matched"),
		opened:        counter("opened"),
		superseded:    counter("superseded"),
		released:      counter("released"),
		dismissed:     counter("dismissed"),
		expired:       counter("expired"),
		idle:          counter("idle"),
		noKey:         noKey,
		noKeyLater:    noKeyLater,
		refused:       refused,
		active:        w.defineActive(rule),
		supersededAge: histogram("superseded_age_ms"),
		duration:      histogram("duration_ms"),
	}
}

// defineActive returns the gauge of a rule's streams in the registry.
func (w *Worker) defineActive(rule string) Metric {
	return w.define(Gauge, metricPrefix+rule+".active")
}

// otherActive is defineActive for a rule that this configuration may not have.
func (w *Worker) otherActive(id registry.RuleID, name string) Metric {
	gauge, known := w.others[id]
	if !known {
		gauge = w.defineActive(name)
		w.others[id] = gauge
	}
	return gauge
}

// defineEventMetrics defines the counters of what the registry reports, per Envoy and not per rule.
func (w *Worker) defineEventMetrics() {
	w.events = map[registry.Event]Metric{}
	for _, e := range []registry.Event{registry.Contended, registry.Malformed, registry.Swept, registry.LostWakeup} {
		w.events[e] = w.define(Counter, metricPrefix+e.String())
	}
}

// showLimit sets the gauge of max_total_streams. All configurations of an Envoy share it: it shows
// the limit of the one that was started last, which an update is. A configuration without rules, as
// on a listener for operators, lets nobody in and has no limit to show.
func (w *Worker) showLimit() {
	if len(w.config.Rules) > 0 {
		w.record(w.define(Gauge, metricPrefix+"max_total_streams"), uint64(w.config.MaxTotalStreams))
	}
}

func (w *Worker) define(kind Kind, name string) Metric {
	m, err := w.host.Define(kind, name)
	if err != nil {
		w.warn(fmt.Errorf("define metric %s: %w", name, err))
	}
	return m
}

func (w *Worker) add(m Metric, by int) {
	if by != 0 {
		w.warn(w.host.Add(m, int64(by)))
	}
}

func (w *Worker) record(m Metric, value uint64) { w.warn(w.host.Record(m, value)) }

// countTakeovers counts and logs the streams that have yielded to s.
func (w *Worker) countTakeovers(s *Stream, yielding []policy.Stream, now int64) {
	for _, y := range yielding {
		age := uint64(max(0, now-y.ClaimedAt))
		w.add(s.rule.metrics.superseded, 1)
		w.record(s.rule.metrics.supersededAge, age)
		if w.debug {
			w.host.Log(Debug, fmt.Sprintf("takeover rule=%s client=%s claim=%d age_ms=%d",
				s.rule.Name, s.place.Client.Short(), y.Claim, age))
		}
	}
}

// countRefusal counts and logs a refusal: one a second at info, all at debug.
func (w *Worker) countRefusal(s *Stream, why policy.Refusal, retry policy.Millis) {
	w.add(s.rule.metrics.refused[why], 1)
	level := Debug
	if w.refused.allow(w.host.Now(), second) {
		level = Info
	}
	if level == Info || w.debug {
		w.host.Log(level, fmt.Sprintf("refused rule=%s client=%s reason=%v retry_ms=%d mode=%v",
			s.rule.Name, s.place.Client.Short(), why, int64(retry), s.rule.Mode))
	}
}
