package plugin

import (
	"maps"
	"slices"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
)

// registration is a shared queue of this VM.
type registration struct {
	plugin *plugin // whose worker reads it
	name   string
}

// register registers a queue whose messages p's worker reads. Whoever reads it, Envoy wakes the
// VM's first plugin context for it.
//
// Envoy remembers the id of the context to wake, and looks it up in the VM that the thread has when
// a message comes (proxy-wasm-cpp-host, src/shared_queue.cc, enqueue). After a crash that is a new
// VM. There the id may be a stream's, and the SDK panics when it is told of a queue on a stream.
// But 1 is the id of the first plugin context in every VM.
func (v *VM) register(p *plugin, name string) (uint32, error) {
	if proxywasm.SetEffectiveContext(v.plugins[0].id) == nil {
		defer func() { _ = proxywasm.SetEffectiveContext(0) }() // back to the running callback's own
	}
	queue, err := proxywasm.RegisterSharedQueue(name)
	if err == nil {
		v.queues[queue] = registration{p, name}
	}
	return queue, err
}

// forget is called when p ends. If it was the first, the queues of the others are registered for
// the one that is first now. A wake-up that is under way to p is lost; a tick reads the message.
func (v *VM) forget(p *plugin) {
	first := v.plugins[0] == p
	v.plugins = slices.DeleteFunc(v.plugins, func(other *plugin) bool { return other == p })
	maps.DeleteFunc(v.queues, func(_ uint32, r registration) bool { return r.plugin == p })
	if first {
		for _, r := range v.queues {
			_, _ = v.register(r.plugin, r.name) // if it fails, a tick reads the messages
		}
	}
}
