package main_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// Thousands of clients come and go, and leave nothing behind. Envoy cannot delete a key, so no key
// may belong to a client. The registry's TestKeysAreBounded does the same with a million clients,
// without a module.
func TestClientsLeaveNothing(t *testing.T) {
	t.Parallel()
	const (
		warmUp  = 8_000 // until Go's heap has found its size
		buckets = 1 << 14
	)
	clients := 32_000
	if testing.Short() {
		clients = 10_000
	}
	e := newEdge(t, host.Config{Workers: 4})
	e.Intercept(nil)
	visit := func(from, to int) {
		for i := from; i < to; i++ {
			e.open(0, "client-"+strconv.Itoa(i)).End()
		}
	}
	for i := range e.Workers() {
		e.open(i, "client-"+strconv.Itoa(i)).End()
	}
	visit(len(e.Workers()), warmUp)
	memory := e.Worker(0).MemoryBytes()
	visit(warmUp, clients)
	// Go's heap may still grow by a few steps. If 48 bytes of each client stayed, that would be
	// more.
	if got, most := e.Worker(0).MemoryBytes(), memory+max(1<<20, 48*(clients-warmUp)); got > most {
		t.Errorf("guest memory grew from %d to %d bytes, want %d at most", memory, got, most)
	}

	keys, used, bytes := 0, 0, 0
	for key, value := range e.SharedData() {
		keys++
		if strings.HasPrefix(key, "streamlatch/3/b/") {
			used++
			bytes += len(value.Bytes)
		}
	}
	// Besides the buckets: a slot for each of 4 workers, the table, the rules' names, the announced
	// start lines, and the configured rules.
	if others := keys - used; others != 4+1+3 || used > buckets {
		t.Errorf("%d buckets and %d other keys in shared data, want at most %d and exactly 8", used, others, buckets)
	}
	if want := used * 9; bytes != want {
		t.Errorf("%d bytes in the buckets, want %d, the headers alone", bytes, want)
	}
	for i, w := range e.Workers() {
		if got := w.Contexts(); got != 1 {
			t.Errorf("worker %d holds %d contexts, want 1, the plugin context", i, got)
		}
	}
	e.counted(map[string]uint64{"events.opened": uint64(clients), "events.released": uint64(clients), "events.active": 0, "contended": 0, "malformed": 0})
}
