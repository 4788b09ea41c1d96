package hostcalls

import (
	"net/http"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// hostStage is the test host.
type hostStage struct {
	world    *host.World
	seen     int                     // log entries
	progress map[*host.GRPCCall]*int // how far the servers of gRPC are
}

func newHostStage(t *testing.T, from setup) *hostStage {
	t.Helper()
	wasm, err := from.module()
	if err != nil {
		t.Fatal(err)
	}
	module, err := host.Compile(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { module.Close(context()) })
	clusters := make(map[string]http.Handler)
	for name, u := range upstreams {
		switch {
		case u.answer != nil || u.serve != nil:
			clusters[name] = nil
		case u.handler != nil:
			clusters[name] = u.handler
		default:
			clusters[name] = host.NoEndpoints
		}
	}
	world, err := host.NewWorld(module, host.Config{Clusters: clusters, VMConfig: []byte(from.vm), PluginConfig: []byte(from.plugin), AllowStopIteration: from.allowStop})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { world.Close() })
	return &hostStage{world: world, seen: len(world.Logs().OfWorker(0)), progress: make(map[*host.GRPCCall]*int)}
}

func (h *hostStage) play(_ *testing.T, d dialogue, id int, _ record) (r record) {
	s := h.world.Worker(0).Open(append(host.Request("GET", "/"), d.request(id)...))
	if d.steps != nil {
		s.SetProtocol(host.HTTP2)
	}
	s.RequestHeaders(d.steps == nil)
	h.settle()
	r.after = append(r.after, len(h.lines()))
	others := &others{stream: id, newest: id}
	for _, text := range d.steps {
		takeStep(h, s, text, others)
		h.settle()
		r.after = append(r.after, len(h.lines()))
	}
	if d.steps == nil {
		h.world.Advance(time.Second) // longer than any time-out
		if s.ToUpstream().Complete {
			s.ResponseHeaders(host.Response(200), true)
		}
	}
	s.End()
	h.settle()
	r.lines = h.lines()
	h.seen = len(h.world.Logs().OfWorker(0))
	if d.steps != nil {
		r.ends = []string{upstreamGot(s.ToUpstream()), clientGot(s)}
	}
	return r
}

// settle lets everything happen that happens without the client, the upstream and the clock.
func (h *hostStage) settle() {
	h.world.Run()
	for _, c := range h.world.HTTPCalls() {
		upstreams[c.Cluster].answer(c)
	}
	for range 10 { // the guest may send more, or make more calls, when it gets an answer
		for _, c := range h.world.GRPCCalls() {
			if h.progress[c] == nil {
				h.progress[c] = new(int)
			}
			upstreams[c.Cluster].serve(c, h.progress[c])
		}
	}
}

// lines returns what the guest has logged in this dialogue, as guestLog does.
func (h *hostStage) lines() (lines []string) {
	for _, entry := range h.world.Logs().OfWorker(0)[h.seen:] {
		if entry.Level == host.LogInfo {
			lines = append(lines, entry.Message)
		}
	}
	return lines
}
