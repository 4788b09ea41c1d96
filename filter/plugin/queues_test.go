// The emulator of the SDK is built for a native host only.

//go:build !wasip1

package plugin

import (
	"fmt"
	"io"
	"log"
	"slices"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
)

// Several configurations in one VM, and Envoy wakes the first plugin for the queues of all. Each
// worker reads its own queue. A plugin ends while a wake-up for it is under way: nobody reads that
// queue, as the message is for the next owner of its slot, and the others' queues are read as
// before.
func TestQueuesOfAnEndedPlugin(t *testing.T) {
	writer := log.Writer()
	log.SetOutput(io.Discard) // the emulator logs every read of an empty queue
	defer log.SetOutput(writer)
	for ends := range 3 {
		t.Run(fmt.Sprintf("plugin %d", ends), func(t *testing.T) {
			v := New("test").(*vm)
			host, reset := proxytest.NewHostEmulator(proxytest.NewEmulatorOption().WithVMContext(v)) // makes plugin 1
			defer reset()
			if _, err := proxywasm.RegisterSharedQueue("unused"); err != nil { // token 0, which Envoy gives nobody
				t.Fatal(err)
			}
			v.NewPluginContext(1001)
			v.NewPluginContext(1002)
			plugins := slices.Clone(v.plugins)
			join(t, host, plugins)
			queues := map[*plugin]uint32{}
			for queue, r := range v.queues {
				queues[r.plugin] = queue
			}
			if len(queues) != len(plugins) {
				t.Fatalf("%d plugins have a queue, want %d", len(queues), len(plugins))
			}
			left := func(p *plugin) int { // of a message in its queue, when plugin 1 is woken for it
				if err := proxywasm.EnqueueSharedQueue(queues[p], []byte("?")); err != nil {
					t.Fatal(err)
				}
				return host.GetQueueSize(queues[p])
			}
			for i, p := range plugins {
				if n := left(p); n != 0 {
					t.Errorf("plugin %d leaves %d messages in its queue", i, n)
				}
			}
			plugins[ends].OnPluginDone()
			for i, p := range plugins {
				want := 0
				if i == ends {
					want = 1
				}
				if n := left(p); n != want {
					t.Errorf("%d messages are left in the queue of plugin %d, want %d", n, i, want)
				}
			}
		})
	}
}

// join makes all plugins join the registry, each at its first candidate.
func join(t *testing.T, host proxytest.HostEmulator, plugins []*plugin) {
	t.Helper()
	for _, p := range plugins {
		// The match reads all headers before the worker registers its queue. After that the
		// emulator has forgotten which stream the callback is about; Envoy has not.
		if !p.worker.Configure([]byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}],
			"match": {"methods": ["GET"], "headers": [{"name": "accept", "present": true},
				{"name": "cache-control", "present": true}, {"name": "pragma", "present": true}]}}]}`)) {
			t.Fatal("the configuration is refused")
		}
	}
	stream := host.InitializeHttpContext() // of plugin 1; the emulator knows no other
	host.CallOnRequestHeaders(stream, [][2]string{{":method", "GET"}, {"accept", "text/event-stream"},
		{"cache-control", "no-cache"}, {"pragma", "no-cache"}, {"x-client-id", "alice"}}, true)
	for i, p := range plugins[1:] {
		if err := proxywasm.SetEffectiveContext(stream); err != nil {
			t.Fatal(err)
		}
		p.NewHttpContext(uint32(2000+i)).OnHttpRequestHeaders(3, true)
	}
}
