package hostcall

//go:wasmimport env proxy_close_stream
func closeStream(kind uint32) Status

//go:wasmimport env proxy_get_log_level
func getLogLevel(level *LogLevel) Status

//go:wasmimport env proxy_define_metric
func defineMetric(kind MetricKind, name *byte, nameSize int32, m *Metric) Status

//go:wasmimport env proxy_increment_metric
func incrementMetric(m Metric, by int64) Status

//go:wasmimport env proxy_record_metric
func recordMetric(m Metric, value uint64) Status

//go:wasmimport env proxy_get_metric
func getMetric(m Metric, value *uint64) Status

//go:wasmimport wasi_snapshot_preview1 clock_time_get
func clockTimeGet(clock uint32, precision uint64, now *int64) uint32
