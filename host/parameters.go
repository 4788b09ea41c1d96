package host

import (
	"fmt"
	"slices"
	"strings"
)

// parameter is one parameter of a hostcall as the ABI means it. It may take two numbers of the
// WebAssembly type: an address and a size.
//
// A list of parameters is written like this, with a colon before what the guest gives and an at
// sign before what it gets:
//
//	key:string value@bytes cas@u32
type parameter struct {
	name   string
	kind   string // key of parameterTypes
	result bool   // the guest gives the address for the result, and of bytes also one for the size
	index  int    // of the first number
}

// parameterTypes are the WebAssembly types of each kind of argument. A kind that is not here is a
// named number: see numberNames.
var parameterTypes = map[string]string{
	"string": "ii", "bytes": "ii", "map": "ii", // address, size
	"i32": "i", "u32": "i", "i64": "I", "u64": "I",
}

// numberNames are the names of numbers of the ABI.
var numberNames = map[string][]string{
	"level":  logLevelNames[:],
	"stream": {"request", "response", "downstream", "upstream"},
	"metric": {"counter", "gauge", "histogram"},
	"headers": {"request_headers", "request_trailers", "response_headers", "response_trailers",
		"grpc_initial_metadata", "grpc_trailing_metadata", "http_call_headers", "http_call_trailers"},
	"buffer": {"request_body", "response_body", "downstream_data", "upstream_data", "http_call_body", "grpc_message",
		"vm_configuration", "plugin_configuration", "call_data"},
}

// parseParameters reads a list of parameters. It also returns their WebAssembly types.
func parseParameters(list string) (parameters []parameter, types string) {
	for _, word := range strings.Fields(list) {
		at := strings.IndexAny(word, ":@")
		p := parameter{name: word[:at], kind: word[at+1:], result: word[at] == '@', index: len(types)}
		parameters = append(parameters, p)
		t, ok := parameterTypes[p.kind]
		switch {
		case p.result && (p.kind == "bytes" || p.kind == "map"):
			types += "ii"
		case p.result || !ok:
			types += "i"
		default:
			types += t
		}
	}
	return parameters, types
}

// Argument is an argument of a hostcall, or one of its results.
type Argument struct {
	Name string

	// Value is a string, Headers, an int64 or a uint64. It is nil if the guest's address for it is
	// out of bounds.
	Value any

	names []string // of the values of an enumeration
}

// String returns the argument as it stands in a trace: name=value.
func (a Argument) String() string {
	switch value := a.Value.(type) {
	case string:
		return fmt.Sprintf("%s=%q", a.Name, value)
	case Headers:
		return a.Name + "=" + formatHeaders(value)
	case uint64:
		if value < uint64(len(a.names)) {
			return a.Name + "=" + a.names[value]
		}
	case nil:
		return a.Name + "=(out of bounds)"
	}
	return fmt.Sprintf("%s=%d", a.Name, a.Value)
}

// joinArguments returns arguments as they stand in a trace.
func joinArguments(arguments []Argument) string {
	words := make([]string, len(arguments))
	for i, a := range arguments {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

// formatHeaders writes headers on one line.
func formatHeaders(h Headers) string {
	words := make([]string, len(h))
	for i, e := range h {
		words[i] = fmt.Sprintf("%s: %q", e.Name, e.Value)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// arguments reads what the guest gives, or, for results, what it got.
func (f *hostFunc) arguments(v *vm, a args, results bool) []Argument {
	var out []Argument
	for _, p := range f.parameters {
		if p.result == results {
			out = append(out, Argument{Name: p.name, Value: p.read(v, a), names: numberNames[p.kind]})
		}
	}
	return out
}

func (p parameter) read(v *vm, a args) any {
	number := func(wide bool) (uint64, bool) {
		switch {
		case !p.result && wide:
			return a[p.index], true
		case !p.result:
			return uint64(a.u32(p.index)), true
		case wide:
			return v.memory.ReadUint64Le(a.u32(p.index))
		default:
			n, ok := v.memory.ReadUint32Le(a.u32(p.index))
			return uint64(n), ok
		}
	}
	switch p.kind {
	case "string", "bytes", "map":
		pointer, size := a.u32(p.index), a.u32(p.index+1)
		if p.result {
			var okPointer, okSize bool
			pointer, okPointer = v.memory.ReadUint32Le(pointer)
			size, okSize = v.memory.ReadUint32Le(size)
			if !okPointer || !okSize {
				return nil
			}
		}
		b, ok := v.view(pointer, size)
		switch {
		case !ok:
			return nil
		case p.kind == "map":
			return decodePairs(slices.Clone(b))
		}
		return string(b)
	case "i32":
		return int64(int32(a.u32(p.index)))
	case "i64":
		return a.i64(p.index)
	}
	n, ok := number(p.kind == "u64")
	if !ok {
		return nil
	}
	return n
}
