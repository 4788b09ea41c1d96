package host_test

import (
	"testing"

	"github.com/streamlatch/streamlatch/host"
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
