package host_test

import (
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/streamlatch/streamlatch/host"
	"github.com/streamlatch/streamlatch/host/gobuild"
)

// BenchmarkNewWorld measures the start of a world with two workers, which takes five VMs.
//
//	go test -run=- -bench=NewWorld ./host
func BenchmarkNewWorld(b *testing.B) {
	m := module(b)
	for b.Loop() {
		w, err := host.NewWorld(m, host.Config{Workers: 2})
		if err != nil {
			b.Fatal(err)
		}
		w.Close()
	}
}

// BenchmarkStream measures a whole stream: eight callbacks, in which the guest makes about thirty
// hostcalls.
//
//	go test -run=- -bench=Stream ./host
func BenchmarkStream(b *testing.B) {
	w := newWorld(b, host.Config{})
	for b.Loop() {
		s := open(w.Worker(0), "request-headers", "get k; set k v 0")
		s.ResponseHeaders(host.Response(200), false)
		s.ResponseBody([]byte("data: 1\n\n"), true)
	}
}

// headerFilter is a filter of the SDK that reads one header of each request.
func headerFilter(b *testing.B) []byte {
	b.Helper()
	wasm, err := gobuild.Build(b.Context(), "../e2e/guests/header", "")
	if err != nil {
		b.Fatal(err)
	}
	return wasm
}

// headerWorld runs headerFilter on one worker.
func headerWorld(b *testing.B) *host.World {
	b.Helper()
	m, err := host.Compile(b.Context(), headerFilter(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close(b.Context()) })
	w, err := host.NewWorld(m, host.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.Close() })
	return w
}

// proxytestHeader runs headerFilter in proxytest, the host for tests that the SDK has.
func proxytestHeader(b *testing.B, wasm []byte) (emulator proxytest.HostEmulator, close func()) {
	b.Helper()
	vm, err := proxytest.NewWasmVMContext(wasm)
	if err != nil {
		b.Fatal(err)
	}
	emulator, reset := proxytest.NewHostEmulator(proxytest.NewEmulatorOption().WithVMContext(vm))
	if status := emulator.StartPlugin(); status != types.OnPluginStartStatusOK {
		b.Fatal(status)
	}
	return emulator, func() { reset(); vm.Close() }
}

// BenchmarkRequest measures a request through a filter that reads one header, in this host and in
// proxytest: the callbacks of its context, request headers, response headers, response body and
// end. This host makes on_done and on_delete besides.
//
//	go test -run=- -bench=Request -count=5 ./host
func BenchmarkRequest(b *testing.B) {
	event := []byte("data: 1\n\n")
	b.Run("host", func(b *testing.B) {
		w := headerWorld(b)
		request, response := host.Request("GET", "/"), host.Response(200)
		b.ReportAllocs()
		for b.Loop() {
			s := w.Worker(0).Open(request)
			s.RequestHeaders(true)
			s.ResponseHeaders(response, false)
			s.ResponseBody(event, true)
			if s.Ending() != host.Completed {
				b.Fatal(s.Ending())
			}
		}
	})
	b.Run("proxytest", func(b *testing.B) {
		emulator, end := proxytestHeader(b, headerFilter(b))
		defer end()
		request := [][2]string{{":method", "GET"}, {":path", "/"}, {":scheme", "http"}, {":authority", "example.test"}}
		response := [][2]string{{":status", "200"}}
		b.ReportAllocs()
		for b.Loop() {
			id := emulator.InitializeHttpContext()
			emulator.CallOnRequestHeaders(id, request, true)
			emulator.CallOnResponseHeaders(id, response, false)
			emulator.CallOnResponseBody(id, event, true)
			emulator.CompleteHttpContext(id)
		}
	})
}

// BenchmarkInstantiate measures one more VM of a filter, until the filter has its configuration.
// Proxytest compiles the module anew for each VM; here it is compiled once.
//
//	go test -run=- -bench=Instantiate -count=5 ./host
func BenchmarkInstantiate(b *testing.B) {
	b.Run("host", func(b *testing.B) {
		worker := headerWorld(b).Worker(0)
		for b.Loop() {
			worker.Crash()
			if err := worker.Reload(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("proxytest", func(b *testing.B) {
		wasm := headerFilter(b)
		for b.Loop() {
			_, end := proxytestHeader(b, wasm)
			end()
		}
	})
}
