package host

func logFunctions(version abiVersion) []hostFunc {
	functions := []hostFunc{
		{name: "proxy_log", params: "level:level message:bytes", run: proxyLog, whileStarting: true, whileAllocating: true},
	}
	if version == abi021 {
		functions = append(functions, hostFunc{name: "proxy_get_log_level", params: "level@level", run: proxyGetLogLevel})
	}
	return functions
}

// proxyLog is proxy_log, which writes one line to the log. The host keeps lines of every level.
//
// Parameters: level, message pointer, message size.
//
//   - BadArgument: the level is above critical (5), which is checked first
//   - InvalidMemoryAccess: the message is out of bounds
//
// cpp-host: src/exports.cc, log.
func proxyLog(v *vm, a args) uint32 {
	level := LogLevel(a.u32(0))
	if level > LogCritical {
		return uint32(StatusBadArgument)
	}
	message, ok := v.readString(a.u32(1), a.u32(2))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	v.world.log(v.thread, level, message)
	return uint32(StatusOk)
}

// proxyGetLogLevel is proxy_get_log_level of ABI 0.2.1, which returns Config.LogLevel.
//
// Parameters: where to write the level.
//
//   - InvalidMemoryAccess: the level cannot be written
//
// cpp-host: src/exports.cc, get_log_level.
func proxyGetLogLevel(v *vm, a args) uint32 {
	if !v.putUint32(a.u32(0), uint32(v.world.config.LogLevel)) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}
