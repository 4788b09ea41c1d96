package host

// plugin is one plugin context in one VM, with those who keep it alive: the
// listeners that use it on its thread, and its streams. It ends with the last.
//
// cpp-host: include/proxy-wasm/wasm.h, PluginHandleBase.
type plugin struct {
	vm         *vm
	config     []byte
	root       *vmContext
	configured bool // false: on_configure has not accepted the configuration, and nobody uses it
	users      int
}

// key is what tells plugins of one VM apart. Envoy's has the name, the root id,
// the direction and the listener's metadata in it too, of which a world has one
// each.
//
// Envoy: source/extensions/common/wasm/plugin.h, createPluginKey.
func pluginKey(config []byte) string { return string(config) }

func (p *plugin) key() string { return pluginKey(p.config) }

// plugin returns the plugin that runs a configuration, started if need be, with one
// user more.
func (v *vm) plugin(config []byte) (*plugin, error) {
	p := v.plugins[pluginKey(config)]
	if p == nil || !p.configured {
		var err error
		if p, err = v.startPlugin(config, ""); err != nil {
			return nil, err
		}
		if err = p.configure(""); err != nil {
			return nil, err
		}
	}
	p.users++
	return p, nil
}

// startPlugin creates a plugin's context: on_context_create and on_vm_start, which
// is called once a plugin, not once a VM. A plugin that could not be configured
// keeps its context, and is started in it again.
//
// cpp-host: src/wasm.cc, start; src/context.cc, onStart.
func (v *vm) startPlugin(config []byte, role string) (*plugin, error) {
	p := v.plugins[pluginKey(config)]
	if p == nil {
		p = &plugin{vm: v, config: config, root: v.addContext(nil, nil)}
		p.root.plugin = p
		v.plugins[p.key()] = p
	}
	id := uint64(p.root.id)
	p.root.configReadable = true
	v.callback(p.root, "proxy_on_context_create", id, 0)
	p.root.configReadable = false
	if v.failed {
		return nil, v.startError(role, "proxy_on_context_create trapped")
	}
	result, called := v.callback(p.root, "proxy_on_vm_start", id, uint64(len(v.world.config.VMConfig)))
	return p, v.verdict(role, "proxy_on_vm_start", result, called)
}

// configure is on_configure, and says whether the guest accepts.
//
// cpp-host: src/context.cc, onConfigure.
func (p *plugin) configure(role string) error {
	p.root.configReadable = true
	result, called := p.vm.callback(p.root, "proxy_on_configure", uint64(p.root.id), uint64(len(p.config)))
	p.root.configReadable = false
	err := p.vm.verdict(role, "proxy_on_configure", result, called)
	p.configured = err == nil
	return err
}

func (v *vm) verdict(role, callback string, result uint32, called bool) error {
	switch {
	case v.failed:
		return v.startError(role, callback+" trapped")
	case called && result == 0:
		return v.startError(role, callback+" returned false")
	}
	return nil
}

func (v *vm) startError(role, reason string) error {
	return v.world.startError(v.world.Worker(v.thread), role, reason)
}

// release is one user less. After the last the plugin is asked to end: on_done,
// and on_delete if that answered true. Otherwise it is pending; another one of the
// same key that becomes pending meanwhile takes its place, and then it is gone
// without on_delete.
//
// cpp-host: src/wasm.cc, startShutdown.
func (p *plugin) release() {
	if p.users--; p.users > 0 {
		return
	}
	v := p.vm
	result, called := v.callback(p.root, "proxy_on_done", uint64(p.root.id))
	delete(v.plugins, p.key())
	if !called || result != 0 || v.failed {
		p.delete()
		return
	}
	if forgotten := v.pendingDone[p.key()]; forgotten != nil {
		forgotten.forget()
	}
	v.pendingDone[p.key()] = p
}

func (p *plugin) delete() {
	p.vm.callback(p.root, "proxy_on_delete", uint64(p.root.id))
	p.forget()
}

func (p *plugin) forget() {
	delete(p.vm.contexts, p.root.id)
	p.vm.timers.set(p.root.id, 0, p.vm.world.now)
}
