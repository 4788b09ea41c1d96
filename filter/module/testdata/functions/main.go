// Command functions prints what the runtime makes of program counters.
package main

import "runtime"

func main() {}

// functions prints the name of every function, found by a program counter at its beginning and by one further in.
//
//go:wasmexport functions
func functions() {
	const function, block = 1 << 16, 5000
	here, _, _, _ := runtime.Caller(0)
	first := here &^ (function - 1)
	for runtime.FuncForPC(first-function) != nil {
		first -= function
	}
	for pc := first; runtime.FuncForPC(pc) != nil; pc += function {
		println(runtime.FuncForPC(pc).Name(), runtime.FuncForPC(pc+block).Name())
	}
}
