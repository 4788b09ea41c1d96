package session

import (
	"errors"
	"fmt"
)

// fleetMetrics are those of an Envoy's part in a fleet.
type fleetMetrics struct {
	unavailable, returned, leasesLost, resyncs, ghosts, clockAhead, foreign Metric
	unregistered                                                            Metric
	claimMs                                                                 Metric
	reported                                                                int // of unregistered, by this worker
}

func (w *Worker) defineFleetMetrics() fleetMetrics {
	counter := func(name string) Metric { return w.define(Counter, metricPrefix+"fleet_"+name) }
	return fleetMetrics{
		unavailable:  counter("unavailable"),
		returned:     counter("returned"),
		leasesLost:   counter("leases_lost"),
		resyncs:      counter("resyncs"),
		ghosts:       counter("ghosts"),
		clockAhead:   counter("clock_ahead"),
		foreign:      counter("foreign"),
		unregistered: w.define(Gauge, metricPrefix+"fleet_unregistered"),
		claimMs:      w.define(Histogram, metricPrefix+"fleet_claim_ms"),
	}
}

// count brings the counters up to date.
func (f *fleetSide) count(m *member) {
	before, now := m.counted, m.Counts()
	m.counted = now
	w, metrics := f.worker, &f.metrics
	w.add(metrics.unavailable, now.Away-before.Away)
	w.add(metrics.returned, now.Returned-before.Returned)
	w.add(metrics.leasesLost, now.LeasesLost-before.LeasesLost)
	w.add(metrics.resyncs, now.Resyncs-before.Resyncs)
	w.add(metrics.ghosts, now.Ghosts-before.Ghosts)
	w.add(metrics.clockAhead, now.ClockAhead-before.ClockAhead)
	w.add(metrics.foreign, now.Foreign-before.Foreign)
	if n := now.Foreign - before.Foreign; n > 0 {
		w.warn(errors.New("etcd has keys or values under the fleet's prefix that are not the fleet's"))
	}
}

// showUnregistered sets the gauge, which all workers of the Envoy share, to the sum of what they
// have reported. If each added its own changes, the part of one that has crashed would stay for
// ever. So those with a change set it, and in each tick one of all.
func (f *fleetSide) showUnregistered(n int) {
	w := f.worker
	changed := n != f.metrics.reported
	f.metrics.reported = n
	if !changed {
		first, err := w.registry.ReportsFirst()
		if w.warn(err); !first {
			return
		}
	}
	sum, err := w.registry.Reported()
	if w.warn(err); err == nil {
		w.record(f.metrics.unregistered, uint64(sum))
	}
}

// tell logs what has gone wrong since the last tick, and that etcd answers again.
func (f *fleetSide) tell(m *member) {
	before := m.counted
	f.count(m)
	warn := func(what string) {
		f.worker.host.Log(Warn, fmt.Sprintf("fleet %s cluster=%s fault=%q", what, m.cluster, m.LastFault()))
	}
	switch {
	case m.Away() && m.counted.Away > before.Away: // perhaps it was back for a moment
		warn("away")
	case m.Away():
	case m.away:
		f.worker.host.Log(Info, fmt.Sprintf("fleet back cluster=%s lease=%x", m.cluster, m.Lease()))
	case m.counted.LeasesLost > before.LeasesLost:
		warn("lease lost")
	case m.counted.Resyncs > before.Resyncs:
		warn("watch broken")
	}
	m.away = m.Away()
}
