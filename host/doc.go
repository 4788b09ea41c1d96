// Package host runs a proxy-wasm filter the way Envoy runs it, in a Go test.
//
// A filter that is correct on one worker can be wrong on two: Envoy gives every
// worker thread its own VM, and the VMs meet only in shared data, shared queues
// and metrics. This package compiles a .wasm with wazero and builds a [World]
// around it: several workers, Envoy's rules for every hostcall, one virtual
// clock, and no concurrency at all. A test opens streams on workers of its
// choice, advances the clock, delivers or loses wake-ups, crashes VMs, and can
// stop any worker inside any hostcall to run another one there. The same seed
// and the same script give the same run, bit for bit.
//
//	module, err := host.Compile(ctx, wasm)
//	world, err := host.NewWorld(module, host.Config{Workers: 2, PluginConfig: config})
//	stream := world.Worker(0).Open(host.Request("GET", "/events", "accept", "text/event-stream"))
//	stream.RequestHeaders(true)
//	stream.ResponseHeaders(host.Response(200, "content-type", "text/event-stream"), false)
//	world.Run()                    // deliver the wake-ups of shared queues
//	world.Advance(5 * time.Second) // on_tick of every worker that set a period
//
// # Configuration updates
//
// Envoy puts each plugin configuration into a plugin context of its own, in the one
// VM that a thread has for a vm_id, code and VM configuration. So a new
// configuration lives side by side with the old one until that has drained, and two
// listeners that use the filter meet in every VM. [World.AddListener] does either,
// [Listener.Open] chooses, [Listener.Drain] ends the old one:
//
//	old := world.Listeners()[0]
//	fresh, err := world.AddListener(config) // refused: the old one is untouched
//	stream := world.Worker(0).Open(request) // on the newest listener
//	other := old.Open(0, request)           // on an old connection, say
//	old.Drain()                             // its plugin contexts end with their last streams
//
// # What is modelled
//
// Envoy, as far as one HTTP filter can see it: the plugin starts twice on the
// main thread (a canary, which is thrown away, and the main thread's own VM) and
// once on every worker; the callbacks of a stream and the actions they answer,
// with held headers and buffered bodies; local replies, deferred resets and
// continues; on_log, on_done, on_delete, in that order; timers that are re-armed
// after on_tick; queue wake-ups that go to the last registrant and are lost with
// it; traps, and the three failure policies; several plugin contexts in one VM, each
// with its canary, timer, streams and reload. The standard is proxy-wasm-cpp-host
// and Envoy's own source, cited by file where a rule may surprise, not the
// specification's text, which differs in places. The dialogues of this package's
// tests (every hostcall with its statuses, bad pointers, local replies, resets and
// what comes of them together; updates, refusals, drains and reloads of several
// listeners) have been held with Envoy 1.40 too, and agree.
//
// # What is not
//
// One guest under one virtual machine id, no other filters, no router: the test
// plays client and upstream. The code, the VM's configuration, the plugin's name and
// its root id are the same in all listeners. A VM outlives its last plugin; Envoy
// drops it at once, with what is pending in it, and shared data with the last VM.
// Callouts (http_call, grpc), foreign functions, TCP callbacks, metadata maps, ABI
// 0.1.0 and allow_on_headers_stop_iteration are missing, and so is
// proxy_get_status; a guest that imports a missing hostcall is refused by
// [Compile], which names it. Buffer limits and watermarks never trigger. Time stands
// still while a guest runs, but for one nanosecond that its monotonic clock gains
// per reading. A guest that loops for ever hangs the test, as it hangs a worker.
//
// # Interleaving and faults
//
// Only hostcalls cross from one worker to another, so what happens between two of
// them is one step. [Config.Intercept] sees each hostcall before it is carried
// out. It may run other workers first, let the call proceed and run others after,
// answer with any status instead, or make the guest trap: see [Call].
//
// A World and all that belongs to it is for one goroutine. Worlds share nothing
// but the immutable [Module], so tests may run in parallel.
package host
