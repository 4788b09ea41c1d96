// Package host runs a proxy-wasm HTTP filter in a Go test, under the rules of Envoy.
//
// Envoy gives every worker thread its own VM for a filter. The VMs share only shared data, shared
// queues and metrics. A filter that is correct on one worker can therefore be wrong on two, and
// such a bug shows only when the workers happen to run in an unlucky order. This package runs the
// same .wasm file that Envoy runs, with wazero, and lets the test choose that order.
//
// A [Module] is a compiled filter, called the guest. A [World] is one Envoy process that runs it:
// worker threads, everything they share, and a clock. A [Stream] is one HTTP request with its
// response. The test plays the client and the upstream:
//
//	module, err := host.Compile(ctx, wasm)
//	world, err := host.NewWorld(module, host.Config{Workers: 2, PluginConfig: config})
//	stream := world.Worker(0).Open(host.Request("GET", "/events", "accept", "text/event-stream"))
//	stream.RequestHeaders(true) // true: the request has no body
//	stream.ResponseHeaders(host.Response(200, "content-type", "text/event-stream"), false)
//	stream.ResponseBody([]byte("data: 1\n\n"), false)
//	received := stream.ToClient() // what the filter let through so far
//
// Every function of the Stream runs the filter's callback and returns what Envoy's filter chain
// would do next. [Stream.ToUpstream], [Stream.ToClient], [Stream.LocalReply] and [Stream.Ending]
// tell what became of the stream.
//
// # Time
//
// Nothing happens until the test asks for it. The clock is virtual: [World.Advance] moves it and
// calls on_tick of every plugin whose timer is due. [World.Run] delivers the wake-ups of shared
// queues, that is on_queue_ready. One callback runs at a time, in the goroutine of the test. All
// randomness comes from [Config.Seed], so the same seed and the same script give the same run, bit
// for bit.
//
// # Interleavings and faults
//
// Workers influence each other only through hostcalls, the functions that the guest imports from
// its host. What a callback does between two hostcalls is therefore one step that nothing can
// interrupt. [Config.Intercept] sees each hostcall before it takes effect. The interceptor may run
// other workers first, or carry out the call and then run other workers. It may also return a false
// status to the guest, or make the guest trap: see [Call]. [Worker.Crash], [World.DropWakeups] and
// [World.SkipTime] make the larger faults: a dead VM, lost wake-ups and a stalled worker.
//
// # TCP
//
// A [Connection] is a TCP connection through the filter: [Worker.Connect], then
// [Connection.DownstreamData] and [Connection.UpstreamData].
//
// # Callouts
//
// A guest may send requests to other services. [Config.Clusters] says which clusters there are, and
// may have a handler for each. Without a handler the test is the other service: [World.HTTPCalls]
// returns what waits for an answer, and the test answers when and how it likes. Time-outs follow
// the virtual clock.
//
// # Configuration updates
//
// Envoy gives each plugin configuration its own plugin context, inside the one VM that a thread has
// for a vm_id, code and VM configuration. So after an update the new configuration runs beside the
// old one until the old one has drained, and two listeners that use the filter share every VM.
// [World.AddListener] starts a configuration, [Listener.Open] chooses one, and [Listener.Drain]
// ends it:
//
//	old := world.Listeners()[0]
//	updated, err := world.AddListener(config) // if the guest refuses it, old is unchanged
//	stream := world.Worker(0).Open(request)   // uses the newest listener
//	late := old.Open(0, request)              // for example on an old connection
//	old.Drain()                               // its plugin contexts end with their last streams
//
// # Several filters
//
// A World runs one module with one vm_id. [Config.Beside] puts another World into the same Envoy
// process: another filter, or the same one with another vm_id. They have one clock and the same
// threads, and they can share queues and data.
//
// # What is exact
//
// The host follows proxy-wasm-cpp-host and Envoy's own source, not the text of the specification,
// which differs from them in places. A comment names the source file where a rule may surprise. It
// covers what one filter can observe:
//
//   - Start-up: the plugin starts twice on the main thread (a canary, which is then discarded, and
//     the main thread's own VM), and once on every worker.
//   - The callbacks of a stream and the actions that they return, with held headers and buffered
//     bodies.
//   - Local replies, and resets and continues, which take effect after the callback.
//   - The end of a stream: on_log, on_done, on_delete, in this order. Over HTTP/3 there may be no
//     on_log: see [Stream.SetProtocol].
//   - Timers, which start again only after on_tick has returned.
//   - Queue wake-ups, which go to the context that registered the queue last, and are lost if that
//     context is gone.
//   - HTTP and gRPC callouts, with what Envoy makes of broken connections and time-outs.
//   - Traps, and the three failure policies.
//   - Several plugin contexts in one VM, each with its canary, timer, streams and reload.
//
// The dialogues in this package's tests were also run through Envoy 1.40, which gave the same
// results: every hostcall with its statuses, pointers out of bounds, local replies and resets and
// their combinations, and updates, refusals, drains and reloads of several listeners.
//
// # What is missing
//
//   - Other filters and the router.
//   - Plugins of different names or root ids that share a VM. All listeners of a world have the
//     same name and root id.
//   - The end of a VM. Envoy drops a VM, with everything pending in it, as soon as its last plugin
//     has ended, and shared data with the last VM. Here a VM lives until [World.Close].
//   - The foreign functions expr_create, expr_evaluate and expr_delete, which need CEL.
//   - gRPC with Google's library.
//   - The option allow_on_headers_stop_iteration.
//   - Buffer limits and watermarks: no body is too large.
//   - Time that passes while the guest runs. Only the monotonic clock moves then, by one nanosecond
//     at each reading. A guest that loops forever hangs the test, as it would hang an Envoy
//     worker, unless [WithCallLimit] ends it.
//
// # Goroutines
//
// A World and everything that belongs to it is for one goroutine. Worlds share only the immutable
// Module, so tests can run in parallel.
package host
