package host

func metricFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_define_metric", params: "type:metric name:string metric@u32", run: proxyDefineMetric},
		{name: "proxy_increment_metric", params: "metric:u32 offset:i64", run: proxyIncrementMetric, key: metricKey},
		{name: "proxy_record_metric", params: "metric:u32 value:u64", run: proxyRecordMetric, key: metricKey},
		{name: "proxy_get_metric", params: "metric:u32 value@u64", run: proxyGetMetric, key: metricKey},
	}
}

func metricKey(v *vm, a args) string { return v.metrics.names[a.u32(0)] }

// proxyDefineMetric is proxy_define_metric. Every call returns a new id, even for a name that is
// known. All VMs of the process share the metric of a name.
//
// Parameters: type (0 counter, 1 gauge, 2 histogram), name pointer, name size, where to write the
// id.
//
//   - InvalidMemoryAccess: the name is out of bounds, or the id cannot be written
//   - BadArgument: the type is above 2
//
// cpp-host: src/exports.cc; Envoy: context.cc, defineMetric.
func proxyDefineMetric(v *vm, a args) uint32 {
	name, ok := v.readString(a.u32(1), a.u32(2))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	id, status := v.metrics.define(a.u32(0), name)
	if status != StatusOk {
		return uint32(status)
	}
	if !v.putUint32(a.u32(3), id) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}

// proxyIncrementMetric is proxy_increment_metric.
//
// Parameters: id, offset.
//
//   - BadArgument: the metric is a counter and the offset is 0 or negative; or it is a histogram
//   - NotFound: this VM did not define the id
//
// Envoy: context.cc, incrementMetric.
func proxyIncrementMetric(v *vm, a args) uint32 {
	return uint32(v.metrics.increment(a.u32(0), a.i64(1)))
}

// proxyRecordMetric is proxy_record_metric. It adds to a counter, sets a gauge, and adds a sample
// to a histogram.
//
// Parameters: id, value.
//
//   - NotFound: this VM did not define the id
//
// Envoy: context.cc, recordMetric.
func proxyRecordMetric(v *vm, a args) uint32 { return uint32(v.metrics.record(a.u32(0), a[1])) }

// proxyGetMetric is proxy_get_metric.
//
// Parameters: id, where to write the 64-bit value.
//
//   - BadArgument: the metric is a histogram
//   - NotFound: this VM did not define the id
//   - InvalidMemoryAccess: the value cannot be written
//
// Envoy: context.cc, getMetric.
func proxyGetMetric(v *vm, a args) uint32 {
	value, status := v.metrics.get(a.u32(0))
	if status != StatusOk {
		return uint32(status)
	}
	if !v.putUint64(a.u32(1), value) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}
