package host

func queueFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_register_shared_queue", signature: "iii->i", run: proxyRegisterSharedQueue, subject: subjectKey},
		{name: "proxy_resolve_shared_queue", signature: "iiiii->i", run: proxyResolveSharedQueue, subject: subjectQueueName},
		{name: "proxy_dequeue_shared_queue", signature: "iii->i", run: proxyDequeueSharedQueue, subject: subjectQueue},
		{name: "proxy_enqueue_shared_queue", signature: "iii->i", run: proxyEnqueueSharedQueue, subject: subjectQueue},
	}
}

func subjectQueueName(v *vm, a args, c *Call) { c.Key, _ = v.text(a.u32(2), a.u32(3)) }

// proxyRegisterSharedQueue is proxy_register_shared_queue: wake-ups for the queue
// go to the plugin context of the caller from now on, taken from whoever
// registered before. It is the same queue, token and items, for the same name.
//
// Parameters: name pointer, name size, where to write the token.
//
//   - InvalidMemoryAccess: the name is out of bounds; or the token cannot be
//     written, and then the queue is registered all the same
//
// cpp-host: src/exports.cc, register_shared_queue; src/context.cc.
func proxyRegisterSharedQueue(v *vm, a args) uint32 {
	name, ok := v.text(a.u32(0), a.u32(1))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	token := v.world.queues.register(v.world.config.VMID, name, v.thread, v.context().root().id)
	if !v.putUint32(a.u32(2), token) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}

// proxyResolveSharedQueue is proxy_resolve_shared_queue.
//
// Parameters: vm id pointer, vm id size (0: the caller's own), name pointer, name
// size, where to write the token.
//
//   - InvalidMemoryAccess: an argument is out of bounds, or the token cannot be
//     written
//   - NotFound: nobody registered the queue
//
// cpp-host: src/exports.cc, resolve_shared_queue.
func proxyResolveSharedQueue(v *vm, a args) uint32 {
	vmID, okID := v.text(a.u32(0), a.u32(1))
	name, okName := v.text(a.u32(2), a.u32(3))
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

// proxyDequeueSharedQueue is proxy_dequeue_shared_queue.
//
// Parameters: token, where to write the item's pointer and its size.
//
//   - NotFound: there is no such queue
//   - Empty: it has no item
//   - InvalidMemoryAccess: a result cannot be written; the item is lost
//
// cpp-host: src/exports.cc, dequeue_shared_queue.
func proxyDequeueSharedQueue(v *vm, a args) uint32 {
	item, status := v.world.queues.dequeue(a.u32(0))
	if status != StatusOk {
		return uint32(status)
	}
	return uint32(v.give(item, a.u32(1), a.u32(2)))
}

// proxyEnqueueSharedQueue is proxy_enqueue_shared_queue: it appends an item and
// posts one wake-up to the listener. Ok says nothing about a listener.
//
// Parameters: token, item pointer, item size.
//
//   - InvalidMemoryAccess: the item is out of bounds
//   - NotFound: there is no such queue
//
// cpp-host: src/exports.cc, enqueue_shared_queue.
func proxyEnqueueSharedQueue(v *vm, a args) uint32 {
	item, ok := v.data(a.u32(1), a.u32(2))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(v.world.queues.enqueue(a.u32(0), item))
}
