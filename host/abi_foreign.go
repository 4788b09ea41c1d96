package host

func foreignFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_call_foreign_function", params: "function:string arguments:bytes result@bytes", run: proxyCallForeignFunction},
	}
}

// proxyCallForeignFunction is proxy_call_foreign_function, which calls a function of Envoy that is
// no part of the ABI: see [Config.ForeignFunctions].
//
// Parameters: name pointer, name size, arguments pointer, arguments size, where to write the
// result's pointer (0: nowhere), where to write its size (0: nowhere). Pointer and size are also
// written if the function fails: 0 and 0.
//
//   - InvalidMemoryAccess: the name or the arguments are out of bounds, or the result cannot be
//     written
//   - NotFound: there is no such function
//   - any other status: see builtinForeignFunctions
//
// cpp-host: src/exports.cc, call_foreign_function.
func proxyCallForeignFunction(v *vm, a args) uint32 {
	name, okName := v.readString(a.u32(0), a.u32(1))
	arguments, okArguments := v.readBytes(a.u32(2), a.u32(3))
	if !okName || !okArguments {
		return uint32(StatusInvalidMemoryAccess)
	}
	var (
		result []byte
		status Status
	)
	if own := v.world.config.ForeignFunctions[name]; own != nil {
		result, status = own(arguments)
	} else if builtin := builtinForeignFunctions[name]; builtin != nil {
		result, status = builtin(v, arguments)
	} else {
		return uint32(StatusNotFound)
	}
	pointer := uint32(0)
	if pointerAt := a.u32(4); pointerAt != 0 {
		if len(result) > 0 {
			var ok bool
			if pointer, ok = v.allocate(uint32(len(result))); !ok || !v.memory.Write(pointer, result) {
				return uint32(StatusInvalidMemoryAccess)
			}
		}
		if !v.putUint32(pointerAt, pointer) {
			return uint32(StatusInvalidMemoryAccess)
		}
	}
	if sizeAt := a.u32(5); sizeAt != 0 && !v.putUint32(sizeAt, uint32(len(result))) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(status)
}
