package host

// Plugin is the configuration of a filter's plugin in Envoy, as far as a guest sees it.
type Plugin struct {
	Name   string
	RootID string
	Config []byte
}

// plugin is one plugin context in one VM. It is kept alive by its users: the listeners that use it
// on this thread, and its streams. It ends when the last user releases it.
//
// cpp-host: include/proxy-wasm/wasm.h, PluginHandleBase.
type plugin struct {
	Plugin
	vm         *vm
	root       *vmContext
	configured bool // on_configure accepted the configuration; without this there are no users
	users      int
}

// pluginKey identifies a plugin in a VM. Envoy's key also holds the direction and the listener's
// metadata, which are the same for all plugins of a world.
//
// Envoy: source/extensions/common/wasm/plugin.h, createPluginKey.
type pluginKey struct{ name, rootID, config string }

func (p Plugin) key() pluginKey { return pluginKey{p.Name, p.RootID, string(p.Config)} }

// plugin returns the plugin that runs a configuration, and counts one more user. It starts the
// plugin if it does not run yet.
func (v *vm) plugin(config Plugin) (*plugin, error) {
	p := v.plugins[config.key()]
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

// startPlugin calls on_context_create and on_vm_start for a new plugin context. Envoy calls
// on_vm_start once for each plugin, not once for each VM. If on_configure refused the plugin
// before, its context still exists and is started once more.
//
// cpp-host: src/wasm.cc, start; src/context.cc, onStart.
func (v *vm) startPlugin(config Plugin, role string) (*plugin, error) {
	p := v.plugins[config.key()]
	if p == nil {
		p = &plugin{Plugin: config, vm: v, root: v.addContext(nil)}
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
	return p, v.callbackError(role, "proxy_on_vm_start", result, called)
}

// configure calls on_configure. The error says that the guest refused the configuration or trapped.
//
// cpp-host: src/context.cc, onConfigure.
func (p *plugin) configure(role string) error {
	p.root.configReadable = true
	result, called := p.vm.callback(p.root, "proxy_on_configure", uint64(p.root.id), uint64(len(p.Config)))
	p.root.configReadable = false
	err := p.vm.callbackError(role, "proxy_on_configure", result, called)
	p.configured = err == nil
	return err
}

// callbackError returns the error of a callback that must return true.
func (v *vm) callbackError(role, callback string, result uint32, called bool) error {
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

// release counts one user less. After the last one it calls on_done, and on_delete if on_done
// returned true. Otherwise the plugin is pending until it calls proxy_done. If a plugin with the
// same key is pending already, that one is dropped without on_delete.
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
	if previous := v.pendingDone[p.key()]; previous != nil {
		previous.forget()
	}
	v.pendingDone[p.key()] = p
}

func (p *plugin) delete() {
	p.vm.callback(p.root, "proxy_on_delete", uint64(p.root.id))
	p.forget()
}

func (p *plugin) forget() {
	delete(p.vm.contexts, p.root.id)
	p.vm.world.network.cancel(func(root *vmContext) bool { return root == p.root })
	p.vm.timers.set(p.root.id, 0, p.vm.world.now)
}
