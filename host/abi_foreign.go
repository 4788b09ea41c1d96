package host

func foreignFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_call_foreign_function", params: "function:string arguments:bytes result@bytes", run: proxyCallForeignFunction},
	}
}

// proxyCallForeignFunction is proxy_call_foreign_function. There are no foreign functions yet.
//
// Parameters: name pointer, name size, arguments pointer, arguments size, where to write the
// result's pointer (0: nowhere), where to write its size (0: nowhere).
//
//   - InvalidMemoryAccess: the name or the arguments are out of bounds
//   - NotFound: there is no such function
//
// cpp-host: src/exports.cc, call_foreign_function.
func proxyCallForeignFunction(v *vm, a args) uint32 {
	for i := range 2 {
		if _, ok := v.view(a.u32(2*i), a.u32(2*i+1)); !ok {
			return uint32(StatusInvalidMemoryAccess)
		}
	}
	return uint32(StatusNotFound)
}
