package main_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// A stream takes little of a VM's memory, also if very many come between two ticks: then the
// collector gets its turn from requests only. With streams that stay and clients that come and go,
// the memory comes to rest.
func TestMemoryOfStreams(t *testing.T) {
	t.Parallel()
	const streams, most = 16_000, 450 // bytes of the VM's memory for each stream, with what the collector needs
	e := newEdge(t, host.Config{})
	memory := e.Worker(0).MemoryBytes
	before := memory()
	for i := range streams {
		e.open(0, strconv.Itoa(i))
	}
	full := memory()
	if each := (full - before) / streams; each > most {
		t.Errorf("a stream takes %d bytes, want at most %d", each, most)
	}
	guests := 10_000
	if testing.Short() {
		guests = 4_000
	}
	for i := range guests {
		e.open(0, "guest"+strconv.Itoa(i)).End()
		if i > guests/2 && i%100 == 0 {
			e.Advance(time.Second)
		}
	}
	if grown := (memory() - full) >> 20; grown > 2 {
		t.Errorf("with %d clients that come and go the VM grows by %d MiB", guests, grown)
	}
}
