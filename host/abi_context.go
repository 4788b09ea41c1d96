package host

func contextFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_set_effective_context", params: "context:u32", run: proxySetEffectiveContext},
		{name: "proxy_done", params: "", run: proxyDone},
	}
}

// proxySetEffectiveContext is proxy_set_effective_context. Until the present callback returns,
// hostcalls act on the given context of this VM.
//
// Parameters: context id; 0 goes back to the context of the callback.
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

// proxyDone is proxy_done. A plugin whose on_done returned false calls it when it is done.
// on_delete follows when the present callback has returned.
//
//   - NotFound: no plugin with this key is waiting for proxy_done
//
// cpp-host: src/wasm.cc, done.
func proxyDone(v *vm, _ args) uint32 {
	p := v.context().root().plugin
	if p == nil || v.pendingDone[p.key()] == nil {
		return uint32(StatusNotFound)
	}
	pending := v.pendingDone[p.key()]
	delete(v.pendingDone, p.key())
	v.deferred = append(v.deferred, pending.delete)
	return uint32(StatusOk)
}
