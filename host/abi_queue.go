package host

func queueFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_register_shared_queue", params: "name:string queue@u32", run: proxyRegisterSharedQueue},
		{name: "proxy_resolve_shared_queue", params: "vm_id:bytes name:string queue@u32", run: proxyResolveSharedQueue},
		{name: "proxy_dequeue_shared_queue", params: "queue:u32 item@bytes", run: proxyDequeueSharedQueue},
		{name: "proxy_enqueue_shared_queue", params: "queue:u32 item:bytes", run: proxyEnqueueSharedQueue},
	}
}

// proxyRegisterSharedQueue is proxy_register_shared_queue. From now on the wake-ups of this queue
// go to the plugin context of the caller, and no longer to the context that registered it before. A
// queue that exists already keeps its token and its items.
//
// Parameters: name pointer, name size, where to write the token.
//
//   - InvalidMemoryAccess: the name is out of bounds; or the token cannot be written, and then the
//     queue is registered all the same
//
// cpp-host: src/exports.cc, register_shared_queue; src/context.cc.
func proxyRegisterSharedQueue(v *vm, a args) uint32 {
	name, ok := v.readString(a.u32(0), a.u32(1))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	token := v.world.queues.register(v.world.config.VMID, name, v.world, v.thread, v.context().root().id)
	if !v.putUint32(a.u32(2), token) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}

// proxyResolveSharedQueue is proxy_resolve_shared_queue, which returns the token of a queue.
//
// Parameters: vm_id pointer, vm_id size (0: the caller's own vm_id), name pointer, name size, where
// to write the token.
//
//   - InvalidMemoryAccess: the vm_id or the name is out of bounds, or the token cannot be written
//   - NotFound: the queue was never registered
//
// cpp-host: src/exports.cc, resolve_shared_queue.
func proxyResolveSharedQueue(v *vm, a args) uint32 {
	vmID, okID := v.readString(a.u32(0), a.u32(1))
	name, okName := v.readString(a.u32(2), a.u32(3))
	if !okID || !okName {
		return uint32(StatusInvalidMemoryAccess)
	}
	if vmID == "" {
		vmID = v.world.config.VMID
	}
	token, status := v.world.queues.resolve(vmID, name)
	if status != StatusOk {
		return uint32(status)
	}
	if !v.putUint32(a.u32(4), token) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}

// proxyDequeueSharedQueue is proxy_dequeue_shared_queue, which takes the oldest item.
//
// Parameters: token, where to write the item's pointer, where to write its size.
//
//   - NotFound: there is no such queue
//   - Empty: the queue has no items
//   - InvalidMemoryAccess: the pointer or the size cannot be written, and then the item is lost
//
// cpp-host: src/exports.cc, dequeue_shared_queue.
func proxyDequeueSharedQueue(v *vm, a args) uint32 {
	item, status := v.world.queues.dequeue(a.u32(0))
	if status != StatusOk {
		return uint32(status)
	}
	return uint32(v.copyToGuest(item, a.u32(1), a.u32(2)))
}

// proxyEnqueueSharedQueue is proxy_enqueue_shared_queue, which appends an item and posts one
// wake-up to the context that registered the queue last. The status is Ok even if that context is
// gone.
//
// Parameters: token, item pointer, item size.
//
//   - InvalidMemoryAccess: the item is out of bounds
//   - NotFound: there is no such queue
//
// cpp-host: src/exports.cc, enqueue_shared_queue.
func proxyEnqueueSharedQueue(v *vm, a args) uint32 {
	item, ok := v.readBytes(a.u32(1), a.u32(2))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(v.world.queues.enqueue(a.u32(0), item))
}
