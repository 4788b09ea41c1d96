package host

import (
	"maps"
	"slices"
)

// Metrics are the metrics that the guest defined, of all VMs together. A metric is present from its
// definition on, with the value zero.
type Metrics struct {
	Counters   map[string]uint64
	Gauges     map[string]uint64
	Histograms map[string][]uint64 // the samples, in the order of their recording
}

// metricKind is the metric type of the ABI. The two lowest bits of a metric id hold it too.
type metricKind uint32

const (
	kindCounter   metricKind = 0
	kindGauge     metricKind = 1
	kindHistogram metricKind = 2

	metricKindMask    = 0x3
	metricIDIncrement = 0x4
)

// metricStore holds the values of all metrics of the process. Ids belong to one VM: see metricIDs.
type metricStore struct {
	counters   map[string]uint64
	gauges     map[string]uint64
	histograms map[string][]uint64
}

func newMetricStore() *metricStore {
	return &metricStore{
		counters:   make(map[string]uint64),
		gauges:     make(map[string]uint64),
		histograms: make(map[string][]uint64),
	}
}

func (m *metricStore) snapshot() Metrics {
	out := Metrics{
		Counters:   maps.Clone(m.counters),
		Gauges:     maps.Clone(m.gauges),
		Histograms: make(map[string][]uint64, len(m.histograms)),
	}
	for name, samples := range m.histograms {
		out.Histograms[name] = slices.Clone(samples)
	}
	return out
}

// metricIDs maps the metric ids of one VM to the metrics of the process.
//
// Envoy: source/extensions/common/wasm/context.cc, defineMetric to getMetric.
type metricIDs struct {
	store *metricStore
	names map[uint32]string
	last  [3]uint32 // the newest id of each kind
}

func newMetricIDs(store *metricStore) *metricIDs {
	return &metricIDs{
		store: store,
		names: make(map[uint32]string),
		last:  [3]uint32{uint32(kindCounter), uint32(kindGauge), uint32(kindHistogram)},
	}
}

// define returns a new id at every call, even for a name that is known. All ids of a name stand for
// the same metric.
func (m *metricIDs) define(kind uint32, name string) (uint32, Status) {
	if kind > uint32(kindHistogram) {
		return 0, StatusBadArgument
	}
	m.last[kind] += metricIDIncrement
	id := m.last[kind]
	m.names[id] = name
	switch metricKind(kind) {
	case kindCounter:
		m.store.counters[name] += 0
	case kindGauge:
		m.store.gauges[name] += 0
	case kindHistogram:
		if _, ok := m.store.histograms[name]; !ok {
			m.store.histograms[name] = []uint64{}
		}
	}
	return id, StatusOk
}

// increment adds offset to a counter or a gauge. For a counter the offset must be positive. A
// histogram cannot be incremented.
func (m *metricIDs) increment(id uint32, offset int64) Status {
	kind := metricKind(id & metricKindMask)
	if kind != kindCounter && kind != kindGauge {
		return StatusBadArgument
	}
	name, ok := m.names[id]
	if !ok {
		return StatusNotFound
	}
	if kind == kindGauge {
		m.store.gauges[name] += uint64(offset)
		return StatusOk
	}
	if offset <= 0 {
		return StatusBadArgument
	}
	m.store.counters[name] += uint64(offset)
	return StatusOk
}

// record adds to a counter, sets a gauge, and adds a sample to a histogram.
func (m *metricIDs) record(id uint32, value uint64) Status {
	name, ok := m.names[id]
	if !ok {
		return StatusNotFound
	}
	switch metricKind(id & metricKindMask) {
	case kindCounter:
		m.store.counters[name] += value
	case kindGauge:
		m.store.gauges[name] = value
	case kindHistogram:
		m.store.histograms[name] = append(m.store.histograms[name], value)
	}
	return StatusOk
}

// get returns the value of a counter or a gauge. A histogram cannot be read.
func (m *metricIDs) get(id uint32) (uint64, Status) {
	kind := metricKind(id & metricKindMask)
	if kind != kindCounter && kind != kindGauge {
		return 0, StatusBadArgument
	}
	name, ok := m.names[id]
	if !ok {
		return 0, StatusNotFound
	}
	if kind == kindGauge {
		return m.store.gauges[name], StatusOk
	}
	return m.store.counters[name], StatusOk
}
