package main_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// A million clients come and go. Nothing in Envoy can delete a key, so nothing may be keyed by client, and a client
// that has gone leaves nothing behind.
func TestMillionClientsLeaveNothing(t *testing.T) {
	t.Parallel()
	const clients, buckets = 1_000_000, 1 << 15
	e := newEdge(t, host.Config{})
	e.Intercept(nil)
	visit := func(from, to int) {
		for i := from; i < to; i++ {
			e.open(i%4, "client-"+strconv.Itoa(i)).End()
		}
	}
	visit(0, clients/10)
	memory := make([]int, 4)
	for i, w := range e.Workers() {
		memory[i] = w.MemoryBytes()
	}
	visit(clients/10, clients)

	keys, bytes := 0, 0
	for key, value := range e.SharedData() {
		keys++
		if strings.HasPrefix(key, "streamlatch/2/b/") {
			bytes += len(value.Bytes)
		}
	}
	// The buckets, a slot a worker, the rule's name, the table, and what was announced last.
	if want := buckets + 4 + 1 + 2; keys != want {
		t.Errorf("%d keys in shared data, want %d", keys, want)
	}
	if want := buckets * 9; bytes != want {
		t.Errorf("%d bytes in the buckets, want %d: nothing but their headers", bytes, want)
	}
	for i, w := range e.Workers() {
		// Go's heap still finds its size by a page or two; less than a byte for each of this worker's clients.
		if got := w.MemoryBytes(); got > memory[i]+clients/4/2 {
			t.Errorf("worker %d: guest memory grew from %d to %d bytes", i, memory[i], got)
		}
		if got := w.Contexts(); got != 1 {
			t.Errorf("worker %d holds %d contexts, want the plugin's alone", i, got)
		}
	}
	e.counted(map[string]uint64{"events.opened": clients, "events.released": clients, "events.active": 0, "contended": 0, "malformed": 0})
}
