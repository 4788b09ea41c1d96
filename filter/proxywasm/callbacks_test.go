package proxywasm

import (
	"slices"
	"testing"
)

// fake is a plugin that is interested in the requests of some contexts, and notes what it is told.
type fake struct {
	id   uint32
	seen *[]uint32
	ends *[]uint32
}

func (fake) Start() bool       { return true }
func (fake) QueueReady(uint32) {}
func (fake) Tick()             {}

func (f fake) RequestHeaders(contextID uint32) (Stream, Action) {
	*f.seen = append(*f.seen, f.id)
	if contextID%2 == 0 {
		return nil, Continue
	}
	return fakeStream{contextID, f.ends}, Pause
}

type fakeStream struct {
	id   uint32
	ends *[]uint32
}

func (fakeStream) ResponseHeaders(bool) Action { return Pause }
func (fakeStream) ResponseBody(int, bool)      {}
func (s fakeStream) Done()                     { *s.ends = append(*s.ends, s.id) }

func register(t *testing.T) (seen, ends *[]uint32) {
	seen, ends = &[]uint32{}, &[]uint32{}
	before := vm
	t.Cleanup(func() { vm = before })
	vm.latest = nil
	Register(func(id uint32) Plugin { return fake{id, seen, ends} })
	return seen, ends
}

// With one plugin nothing is kept of a request that is of no interest, and of the others until they end.
func TestNothingIsKept(t *testing.T) {
	_, ends := register(t)
	onContextCreate(1, 0)
	for id := uint32(2); id < 12; id++ {
		onContextCreate(id, 1)
		onRequestHeaders(id, 0, true)
	}
	if len(vm.streams) != 5 || len(vm.parents) != 0 {
		t.Errorf("%d streams and %d parents kept, want 5 and none", len(vm.streams), len(vm.parents))
	}
	if got := onResponseHeaders(2, 0, false); got != Continue {
		t.Errorf("response of a request of no interest: %v", got)
	}
	if got := onResponseHeaders(3, 0, false); got != Pause {
		t.Errorf("response of a stream: %v, want its own answer", got)
	}
	for id := uint32(2); id < 12; id++ {
		onDelete(id)
		onDelete(id) // Envoy does not, and it would do no harm
	}
	if len(vm.streams) != 0 || !slices.Equal(*ends, []uint32{3, 5, 7, 9, 11}) {
		t.Errorf("%d streams kept, ended %v", len(vm.streams), *ends)
	}
}

// With several plugins a request is its parent's, whatever comes and goes; the last one left has all.
func TestSeveralPlugins(t *testing.T) {
	seen, _ := register(t)
	onContextCreate(1, 0)
	onContextCreate(2, 0)
	onContextCreate(10, 1)
	onContextCreate(12, 2)
	onContextCreate(14, 1) // and never a request: Envoy was told to close
	onRequestHeaders(12, 0, true)
	onRequestHeaders(10, 0, true)
	onDelete(14)
	if len(vm.parents) != 0 {
		t.Errorf("%d parents kept", len(vm.parents))
	}
	onDelete(2) // the newest goes
	onContextCreate(16, 1)
	onRequestHeaders(16, 0, true)
	if !slices.Equal(*seen, []uint32{2, 1, 1}) {
		t.Errorf("requests went to the plugins %v, want 2, 1, 1", *seen)
	}
	onDelete(1)
	onContextCreate(18, 1)
	if got := onRequestHeaders(18, 0, true); got != Continue {
		t.Errorf("a request with no plugin left: %v", got)
	}
	onTick(1)
	onQueueReady(1, 1)
	if onConfigure(1, 0) {
		t.Error("a plugin that is gone was configured")
	}
}
