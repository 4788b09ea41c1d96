package host

import "time"

func timerFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_set_tick_period_milliseconds", params: "period:u32", run: proxySetTickPeriodMilliseconds},
		{name: "proxy_get_current_time_nanoseconds", params: "time@u64", run: proxyGetCurrentTimeNanoseconds},
	}
}

// proxySetTickPeriodMilliseconds is proxy_set_tick_period_milliseconds. It starts the timer of the
// caller's plugin context anew, even if a stream calls it. The status is always Ok.
//
// Parameters: period; 0 stops the timer.
//
// cpp-host: src/context.cc, setTimerPeriod.
func proxySetTickPeriodMilliseconds(v *vm, a args) uint32 {
	v.timers.set(v.context().root().id, time.Duration(a.u32(0))*time.Millisecond, v.world.now)
	return uint32(StatusOk)
}

// proxyGetCurrentTimeNanoseconds is proxy_get_current_time_nanoseconds, which returns the virtual
// clock as nanoseconds since 1970. The clock stands still during a callback.
//
// Parameters: where to write the 64-bit time.
//
//   - InvalidMemoryAccess: the time cannot be written
//
// cpp-host: src/exports.cc, get_current_time_nanoseconds.
func proxyGetCurrentTimeNanoseconds(v *vm, a args) uint32 {
	if !v.putUint64(a.u32(0), uint64(v.world.realTime().UnixNano())) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}
