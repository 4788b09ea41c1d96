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

	"github.com/streamlatch/streamlatch/filter/session"
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
			v := New("test")
			host, reset := proxytest.NewHostEmulator(proxytest.NewEmulatorOption().WithVMContext(v)) // makes plugin 1
			defer reset()
			if _, err := proxywasm.RegisterSharedQueue("unused"); err != nil { // token 0, which Envoy gives nobody
				t.Fatal(err)
			}
			v.NewPluginContext(1001)
			v.NewPluginContext(1002)
			plugins := slices.Clone(v.plugins)
			join(t, plugins)
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
func join(t *testing.T, plugins []*plugin) {
	t.Helper()
	for i, p := range plugins {
		p.worker = session.New(withRequest{envoy{p}}, "test")
		if !p.worker.Configure([]byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}]}]}`)) {
			t.Fatal("the configuration is refused")
		}
		p.NewHttpContext(uint32(2000+i)).OnHttpRequestHeaders(1, true)
	}
}

// withRequest is an Envoy with one request of a client. While a worker joins, the emulator forgets
// which stream a callback is about; Envoy does not.
type withRequest struct{ envoy }

func (withRequest) Request() session.Request { return requestOfAlice{} }

type requestOfAlice struct{ request }

func (requestOfAlice) Header(name string) (string, bool) { return "alice", name == "x-client-id" }
