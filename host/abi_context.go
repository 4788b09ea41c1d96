package host

func contextFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_set_effective_context", signature: "i->i", run: proxySetEffectiveContext},
		{name: "proxy_done", signature: "->i", run: proxyDone},
	}
}

// proxySetEffectiveContext is proxy_set_effective_context: hostcalls are
// attributed to another context of the VM until the current callback returns.
//
// Parameters: context id; 0, the VM's own, takes the change back.
//
//   - BadArgument: the VM has no such context
//
// cpp-host: src/exports.cc, set_effective_context.
func proxySetEffectiveContext(v *vm, a args) uint32 {
	if _, ok := v.contexts[a.u32(0)]; !ok {
		return uint32(StatusBadArgument)
	}
	v.effective = a.u32(0)
	return uint32(StatusOk)
}

// proxyDone is proxy_done: the plugin, whose on_done answered false, is done now.
// on_delete follows when the current callback has returned.
//
//   - NotFound: the plugin was not asked to end, or is done already
//
// cpp-host: src/wasm.cc, done.
func proxyDone(v *vm, _ args) uint32 {
	p := v.context().root().plugin
	if p == nil || v.pendingDone[p.key()] == nil {
		return uint32(StatusNotFound)
	}
	pending := v.pendingDone[p.key()]
	delete(v.pendingDone, p.key())
	v.after = append(v.after, pending.delete)
	return uint32(StatusOk)
}
