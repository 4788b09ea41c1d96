package proxywasm

import "unsafe"

// The kinds of metrics in the ABI.
const (
	counter   = 0
	gauge     = 1
	histogram = 2
)

// Counter, Gauge and Histogram are metrics of the whole Envoy: all that are defined by one name are one.
type (
	Counter   uint32
	Gauge     uint32
	Histogram uint32
)

func DefineCounter(name string) Counter     { return Counter(define(counter, name)) }
func DefineGauge(name string) Gauge         { return Gauge(define(gauge, name)) }
func DefineHistogram(name string) Histogram { return Histogram(define(histogram, name)) }

func define(kind uint32, name string) (id uint32) {
	proxyDefineMetric(kind, unsafe.StringData(name), int32(len(name)), &id)
	return id
}

func (c Counter) Add(n int)         { proxyIncrementMetric(uint32(c), int64(n)) }
func (g Gauge) Add(n int)           { proxyIncrementMetric(uint32(g), int64(n)) }
func (g Gauge) Set(n int)           { proxyRecordMetric(uint32(g), uint64(n)) }
func (h Histogram) Record(n uint64) { proxyRecordMetric(uint32(h), n) }

// Value returns what all workers together have made of the gauge.
func (g Gauge) Value() int64 {
	var value uint64
	proxyGetMetric(uint32(g), &value)
	return int64(value)
}
