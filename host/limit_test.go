package host_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

const (
	opLoop = 0x03
	opBr   = 0x0c
	void   = 0x40 // the type of a block without a result
	opEnd  = 0x0b
)

// forever is a body that never returns.
var forever = []byte{opLoop, void, opBr, 0, opEnd, opI32Const, 0}

// A guest that loops fails after the limit: in a callback, in its allocator in the middle of a
// hostcall, and while it starts. Other workers' VMs go on.
func TestCallLimit(t *testing.T) {
	t.Parallel()
	getsHeaders := []byte{opI32Const, 0, opI32Const, 0, opI32Const, 4, opCall, 0}
	headers := function{module: "env", name: "proxy_get_header_map_pairs", typ: "iii->i"}
	for name, m := range map[string]testModule{
		"proxy_on_request_headers": {exports: minimalExports(
			function{name: "proxy_on_context_create", typ: "ii->"}, function{name: "proxy_on_request_headers", typ: "iii->i", body: forever})},
		"malloc": {imports: []function{headers}, exports: append(minimalExports()[:2],
			function{name: "malloc", typ: "i->i", body: forever},
			function{name: "proxy_on_request_headers", typ: "iii->i", body: getsHeaders})},
		"proxy_on_vm_start": {exports: minimalExports(function{name: "proxy_on_vm_start", typ: "ii->i", body: forever})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			module, err := host.Compile(t.Context(), m.bytes(), host.WithCallLimit(50*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			defer module.Close(context.Background())
			w, err := host.NewWorld(module, host.Config{Workers: 2, FailurePolicy: host.FailReload})
			var log string
			if err != nil {
				log = err.Error()
			} else {
				defer w.Close()
				w.Worker(0).Open(host.Request("GET", "/")).RequestHeaders(true)
				if !w.Worker(0).Failed() || w.Worker(1).Failed() {
					t.Errorf("failed: worker 0 %v, worker 1 %v; want true and false", w.Worker(0).Failed(), w.Worker(1).Failed())
				}
				log = w.Logs().String()
			}
			if want := name + " failed: it has not returned within 50ms"; !strings.Contains(log, want) {
				t.Errorf("the log says %q, want %q", log, want)
			}
		})
	}
}

// A guest's memory grows up to the limit and no further.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	const opGrow, opEqual, minusOne = 0x40, 0x46, 0x7f
	// It starts only if it gets no second page.
	m := testModule{exports: minimalExports(function{name: "proxy_on_vm_start", typ: "ii->i",
		body: []byte{opI32Const, 1, opGrow, 0, opI32Const, minusOne, opEqual}})}
	for limit, starts := range map[int]bool{1 << 16: true, 2 << 16: false, 1 << 40: false} {
		module, err := host.Compile(t.Context(), m.bytes(), host.WithMemoryLimit(limit))
		if err != nil {
			t.Fatal(err)
		}
		defer module.Close(context.Background())
		w, err := host.NewWorld(module, host.Config{})
		if err == nil {
			w.Close()
		}
		if (err == nil) != starts {
			t.Errorf("limit of %d bytes: %v, want it to start: %v", limit, err, starts)
		}
	}
}
