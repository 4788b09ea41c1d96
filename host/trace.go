package host

import (
	"fmt"
	"strings"
)

// trace writes a line to Config.Trace, if there is one.
func (v *vm) trace(format string, a ...any) {
	if out := v.world.config.Trace; out != nil {
		indent := strings.Repeat("  ", v.depth)
		name := threadName(v.thread)
		if plugin := v.world.config.PluginName; plugin != "" {
			name += " " + plugin
		}
		fmt.Fprintf(out, "%s: %s%s\n", name, indent, fmt.Sprintf(format, a...))
	}
}

// traceCallback writes what the guest is called with, and returns a function that writes what came
// of it. It leaves out the allocator.
func (v *vm) traceCallback(name string, arguments []uint64) func(result uint32, ok bool) {
	if v.world.config.Trace == nil || name == v.allocator {
		return func(uint32, bool) {}
	}
	numbers := make([]string, len(arguments))
	for i, a := range arguments {
		numbers[i] = fmt.Sprint(a)
	}
	v.trace("%s(%s)", name, strings.Join(numbers, ", "))
	v.depth++
	return func(result uint32, ok bool) {
		v.depth--
		hasResult := len(v.functions[name].Definition().ResultTypes()) > 0
		switch {
		case !ok:
			v.trace("%s traps", name)
		case hasResult:
			v.trace("%s = %d", name, result)
		default:
			v.trace("%s returns", name)
		}
	}
}
