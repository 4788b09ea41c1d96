package host

import (
	"slices"
	"time"
)

// session is what streams and connections have in common: a context in the VM of a worker.
type session struct {
	worker     *Worker
	vm         *vm     // nil if the VM had failed when the session began
	plugin     *plugin // the plugin of the context; nil if vm is
	context    *vmContext
	unfiltered bool // the session bypasses the filter
	created    bool // on_context_create was called

	connectionID uint64 // of the client's connection
	opened       time.Time
	properties   map[string][]byte
	filterState  map[string][]byte
}

// newSession begins a session of this listener on a worker. For a stream or a connection, the
// context must still be told of it.
func (l *Listener) newSession(method string, worker int) session {
	switch {
	case worker == MainThread:
		panic("host: " + method + " on the main thread: want a worker")
	case l.drained:
		panic("host: " + method + " on a listener that has drained: want one of World.Listeners")
	}
	t := l.world.Worker(worker)
	t.mustNotBeBusy(method)
	l.reloadIfDue(t)
	l.world.connections++
	s := session{
		worker: t, connectionID: l.world.connections, opened: l.world.now,
		properties: make(map[string][]byte), filterState: make(map[string][]byte),
	}
	switch p := l.slots[t].plugin; {
	case p == nil:
		s.unfiltered = true
	case !p.vm.failed:
		p.users++
		s.plugin, s.vm = p, p.vm
		s.context = p.vm.addContext(p.root)
	case l.world.config.FailurePolicy == FailOpen:
		s.unfiltered = true
	}
	return s
}

// ID returns the context id, which is unique within the VM of its worker. It is 0 if there is no
// context, because the VM had failed or the filter is bypassed.
func (s *session) ID() uint32 {
	if s.context == nil {
		return 0
	}
	return s.context.id
}

// Worker returns the worker that handles the stream or the connection.
func (s *session) Worker() *Worker { return s.worker }

// FilterState returns a copy of what the guest set with proxy_set_property and with the foreign
// function set_envoy_filter_state. The names are those of Envoy's access log: for a property
// "wasm." and its path.
func (s *session) FilterState() map[string]string {
	out := make(map[string]string, len(s.filterState))
	for k, v := range s.filterState {
		out[k] = string(v)
	}
	return out
}

// SetProperty sets what proxy_get_property returns for a path in this context. It takes precedence
// over Config.Properties and over what the host itself knows.
func (s *session) SetProperty(value []byte, path ...string) {
	s.properties[PropertyPath(path...)] = slices.Clone(value)
}

// create calls on_context_create, unless it was called before.
func (s *session) create() {
	if s.created || s.unfiltered {
		return
	}
	s.created = true
	if s.vm != nil {
		s.vm.callback(s.context, "proxy_on_context_create", uint64(s.context.id), uint64(s.context.parent.id))
	}
}

// delete removes the context and lets go of the plugin.
func (s *session) delete() {
	delete(s.vm.contexts, s.context.id)
	s.plugin.release()
}
