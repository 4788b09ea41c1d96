package plugin

import (
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// A context is used again only when its stream has ended, and once: not if on_log comes twice.
func TestContextsAreUsedAgainOnce(t *testing.T) {
	p := New("test").NewPluginContext(1)
	first := p.NewHttpContext(2)
	if other := p.NewHttpContext(3); other == first {
		t.Error("two streams share a context")
	}
	first.OnHttpStreamDone()
	first.OnHttpStreamDone()
	fourth, fifth := p.NewHttpContext(4), p.NewHttpContext(5)
	if fourth != first {
		t.Error("the context of a stream that has ended is not used again")
	}
	if fifth == fourth {
		t.Error("two streams share a context after a second on_log")
	}
	if id := fourth.(*context).id; id != 4 {
		t.Errorf("a context that is used again has id %d, want 4", id)
	}
}

// If the SDK gets no HTTP context from a plugin context, it asks for a TCP context, and panics
// without one.
func TestEveryStreamGetsAContext(t *testing.T) {
	p := New("test").NewPluginContext(1)
	var all []types.HttpContext
	for id := range uint32(2*mostKept + 2) {
		c := p.NewHttpContext(id)
		if c == nil {
			t.Fatalf("stream %d has no context", id)
		}
		if all = append(all, c); id%3 == 0 {
			c.OnHttpStreamDone()
		}
	}
	for _, c := range all {
		c.OnHttpStreamDone()
	}
	if kept := len(p.(*plugin).free); kept != mostKept {
		t.Errorf("%d contexts are kept, want %d", kept, mostKept)
	}
}

// The registry sends no empty message. The SDK would panic.
func TestEmptyMessageIsAnError(t *testing.T) {
	if err := (envoy{}).Enqueue(1, nil); err == nil {
		t.Error("no error")
	}
}
