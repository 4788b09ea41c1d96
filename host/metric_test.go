package host

import (
	"math"
	"reflect"
	"testing"
)

func TestMetricIDsAreNewAtEveryDefinition(t *testing.T) {
	store := newMetricStore()
	m, other := newMetricIDs(store), newMetricIDs(store)
	first, _ := m.define(uint32(kindCounter), "requests")
	second, _ := m.define(uint32(kindCounter), "requests")
	foreign, _ := other.define(uint32(kindCounter), "requests")
	if first != 4 || second != 8 || foreign != 4 {
		t.Errorf("got the ids %d, %d and in another VM %d, want 4, 8 and 4", first, second, foreign)
	}
	gauge, _ := m.define(uint32(kindGauge), "live")
	histogram, _ := m.define(uint32(kindHistogram), "age")
	if gauge != 5 || histogram != 6 {
		t.Errorf("first gauge and histogram: got the ids %d and %d, want 5 and 6", gauge, histogram)
	}
	m.increment(first, 1)
	m.increment(second, 10)
	other.increment(foreign, 100)
	if got, _ := m.get(first); got != 111 {
		t.Errorf("one metric with three ids in two VMs: got the value %d, want 111", got)
	}
	if _, status := m.define(3, "nonsense"); status != StatusBadArgument {
		t.Errorf("define of type 3: got %v, want %v", status, StatusBadArgument)
	}
}

func TestMetricOperations(t *testing.T) {
	const counter, gauge, histogram = 4, 5, 6
	tests := []struct {
		name string
		do   func(m *metricIDs) Status
		want Status
		then uint64 // the value of the counter or the gauge, which both start at 10
	}{
		{"a counter rises", func(m *metricIDs) Status { return m.increment(counter, 2) }, StatusOk, 12},
		{"a counter cannot rise by 0", func(m *metricIDs) Status { return m.increment(counter, 0) }, StatusBadArgument, 10},
		{"a counter cannot fall", func(m *metricIDs) Status { return m.increment(counter, -1) }, StatusBadArgument, 10},
		{"record adds to a counter", func(m *metricIDs) Status { return m.record(counter, 5) }, StatusOk, 15},
		{"a gauge rises", func(m *metricIDs) Status { return m.increment(gauge, 2) }, StatusOk, 12},
		{"a gauge falls", func(m *metricIDs) Status { return m.increment(gauge, -3) }, StatusOk, 7},
		{"a gauge can rise by 0", func(m *metricIDs) Status { return m.increment(gauge, 0) }, StatusOk, 10},
		{"record sets a gauge", func(m *metricIDs) Status { return m.record(gauge, 3) }, StatusOk, 3},
		{"a histogram cannot be incremented", func(m *metricIDs) Status { return m.increment(histogram, 1) }, StatusBadArgument, 10},
		{"a histogram cannot be read", func(m *metricIDs) Status { _, s := m.get(histogram); return s }, StatusBadArgument, 10},
		{"a metric of type 3 cannot be read", func(m *metricIDs) Status { _, s := m.get(7); return s }, StatusBadArgument, 10},
		{"increment of an unknown counter", func(m *metricIDs) Status { return m.increment(400, 1) }, StatusNotFound, 10},
		{"record of an unknown gauge", func(m *metricIDs) Status { return m.record(401, 1) }, StatusNotFound, 10},
		{"record of an unknown histogram", func(m *metricIDs) Status { return m.record(402, 1) }, StatusNotFound, 10},
		{"get of an unknown counter", func(m *metricIDs) Status { _, s := m.get(400); return s }, StatusNotFound, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMetricIDs(newMetricStore())
			for kind, name := range []string{"c", "g", "h"} {
				m.define(uint32(kind), name)
			}
			m.record(counter, 10)
			m.record(gauge, 10)
			if got := tt.do(m); got != tt.want {
				t.Fatalf("got the status %v, want %v", got, tt.want)
			}
			c, _ := m.get(counter)
			g, _ := m.get(gauge)
			if c != tt.then && g != tt.then {
				t.Errorf("got the counter %d and the gauge %d, want %d for one of them", c, g, tt.then)
			}
			if c != 10 && g != 10 {
				t.Errorf("got the counter %d and the gauge %d, want one of them unchanged at 10", c, g)
			}
		})
	}
}

func TestMetricSnapshot(t *testing.T) {
	store := newMetricStore()
	m := newMetricIDs(store)
	for kind, name := range []string{"c", "g", "h"} {
		m.define(uint32(kind), name)
	}
	m.increment(5, -1)
	m.record(6, 3)
	m.record(6, 1)
	got := store.snapshot()
	want := Metrics{
		Counters:   map[string]uint64{"c": 0},
		Gauges:     map[string]uint64{"g": math.MaxUint64}, // Envoy's gauges are unsigned and wrap
		Histograms: map[string][]uint64{"h": {3, 1}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	got.Histograms["h"][0] = 99
	if again := store.snapshot(); again.Histograms["h"][0] != 3 {
		t.Errorf("got the sample %d after a change of the snapshot, want 3", again.Histograms["h"][0])
	}
}
