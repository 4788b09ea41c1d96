// Package plugin is the filter as Envoy sees it: it hands the SDK's callbacks to package session,
// and session's calls to the SDK. Nothing is decided here.
//
// # The SDK's contexts
//
// The SDK makes one context for every request that enters the filter, and all of its callbacks are
// called for it. So a context is small, and used again when its stream has ended (see
// [context.OnHttpStreamDone]). A request that no rule matches costs one or two reads of headers.
// Nothing is kept of it.
package plugin

import (
	"runtime"
	"runtime/debug"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/streamlatch/streamlatch/filter/session"
)

// New returns the filter's VM context. version is told in the log and the status.
func New(version string) *VM {
	return &VM{version: version, queues: map[uint32]registration{}}
}

// VM makes a plugin context for each configuration of the filter in this VM.
type VM struct {
	types.DefaultVMContext
	version string
	plugins []*plugin               // those that have not ended, the oldest first
	queues  map[uint32]registration // theirs
	large   bool                    // it has had manyStreams
}

// NewPluginContext implements [types.VMContext].
func (v *VM) NewPluginContext(id uint32) types.PluginContext {
	p := &plugin{vm: v, id: id, open: map[uint32]struct{}{}}
	p.worker = session.New(envoy{p}, v.version)
	v.plugins = append(v.plugins, p)
	return p
}

// plugin is one configuration in one VM.
type plugin struct {
	types.DefaultPluginContext
	vm     *VM
	id     uint32
	worker *session.Worker
	free   []*context          // contexts of streams that have ended, for use again
	turns  uint32              // see takeTurn; wraps
	open   map[uint32]struct{} // streams of gRPC that are open
}

// mostKept bounds the contexts that are kept for use again: enough for the requests that pass at
// one time, and not for the peak of a storm.
const mostKept = 1024

// OnPluginStart implements [types.PluginContext].
func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	data, err := proxywasm.GetPluginConfiguration()
	if err != nil { // Envoy has none to give; that is a fault like others
		data = nil
	}
	return types.OnPluginStartStatus(p.worker.Configure(data))
}

// OnQueueReady implements [types.PluginContext]. The queue may be another plugin context's, or a
// dead VM's, see [VM.register].
func (p *plugin) OnQueueReady(queue uint32) {
	if r, ok := p.vm.queues[queue]; ok {
		r.plugin.worker.Wake(queue)
	}
}

// OnTick implements [types.PluginContext].
func (p *plugin) OnTick() {
	p.worker.Tick()
	p.vm.collect(p.worker.Streams())
}

// collectEvery is after how many requests and answers, and not only in the tick, Go's collector
// gets a turn.
const collectEvery = 32

// A VM that has had manyStreams begins a collection when the heap has grown by this many percent,
// and not by 100 as Go does: a stream takes some 390 bytes of the VM's memory then, and not 500. A
// small heap would be collected too often, at the cost of every request.
const (
	manyStreams   = 8192
	growthPercent = 33
)

// collect gives Go's collector its turn. It marks the heap in goroutines of its own. In a wasm
// module they run only while a callback yields, and callbacks do not: a cycle would begin and not
// end, and memory would grow with every request, up to Envoy's limit. A yield costs less than a
// microsecond if there is nothing to do.
func (v *VM) collect(streams int) {
	if streams >= manyStreams && !v.large {
		v.large = true
		debug.SetGCPercent(growthPercent)
	}
	runtime.Gosched()
}

// takeTurn is called in callbacks that leave garbage.
func (p *plugin) takeTurn() {
	if p.turns++; p.turns%collectEvery == 0 {
		p.vm.collect(p.worker.Streams())
	}
}

// OnPluginDone implements [types.PluginContext].
func (p *plugin) OnPluginDone() bool {
	p.worker.Leave()
	p.vm.forget(p)
	return true
}

// NewHttpContext implements [types.PluginContext].
func (p *plugin) NewHttpContext(id uint32) types.HttpContext {
	p.takeTurn()
	var c *context
	if last := len(p.free) - 1; last >= 0 {
		c, p.free = p.free[last], p.free[:last]
	} else {
		c = &context{plugin: p}
	}
	c.id, c.done = id, false
	return c
}

// context is a request that has entered the filter.
type context struct {
	types.DefaultHttpContext
	plugin *plugin
	stream *session.Stream // nil: nothing is to be known of this request
	id     uint32
	done   bool // OnHttpStreamDone was called
}

// OnHttpRequestHeaders implements [types.HttpContext].
func (c *context) OnHttpRequestHeaders(_ int, endOfStream bool) types.Action {
	stream, action := c.plugin.worker.Request(c.id, endOfStream)
	c.stream = stream
	return translated(action)
}

// OnHttpRequestBody implements [types.HttpContext].
func (c *context) OnHttpRequestBody(size int, endOfStream bool) types.Action {
	if c.stream == nil {
		return types.ActionContinue
	}
	return translated(c.stream.RequestBody(size, endOfStream))
}

// OnHttpRequestTrailers implements [types.HttpContext]. No body comes after them.
func (c *context) OnHttpRequestTrailers(int) types.Action { return c.OnHttpRequestBody(0, true) }

// OnHttpResponseHeaders implements [types.HttpContext].
func (c *context) OnHttpResponseHeaders(_ int, endOfStream bool) types.Action {
	if c.stream == nil {
		return types.ActionContinue
	}
	return translated(c.stream.Response(endOfStream))
}

// OnHttpResponseBody implements [types.HttpContext].
func (c *context) OnHttpResponseBody(size int, endOfStream bool) types.Action {
	if c.stream != nil {
		c.stream.ResponseBody(size, endOfStream)
	}
	return types.ActionContinue
}

// OnHttpStreamDone implements [types.HttpContext]. The SDK calls it in on_log. After that Envoy
// makes only on_done and on_delete for the context, of which the SDK tells nobody, so the context
// can be used for another stream. A stream that is reset twice in one callback would get two
// on_log; the filter resets none twice, and the second would do nothing.
//
// Over HTTP/3 Envoy makes no on_log for a stream that ends in good order. Then the worker's tick
// finds that the stream has gone, and the context is left to the garbage collector.
func (c *context) OnHttpStreamDone() {
	if c.done {
		return
	}
	c.done = true
	if c.stream != nil {
		c.stream.End()
		c.stream = nil
	}
	if p := c.plugin; len(p.free) < mostKept {
		p.free = append(p.free, c)
	}
}

func translated(a session.Action) types.Action {
	if a == session.Pause {
		return types.ActionPause
	}
	return types.ActionContinue
}
