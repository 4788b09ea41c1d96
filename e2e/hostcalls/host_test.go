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
	seen     int                     // log lines
	progress map[*host.GRPCCall]*int // how far the servers of gRPC are
}

func newHostStage(t *testing.T) *hostStage {
	t.Helper()
	wasm, err := guest()
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
	world, err := host.NewWorld(module, host.Config{Clusters: clusters})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { world.Close() })
	return &hostStage{world: world, seen: len(world.Logs().OfWorker(0)), progress: make(map[*host.GRPCCall]*int)}
}

func (h *hostStage) play(_ *testing.T, request host.Headers, _ int) []string {
	s := h.world.Worker(0).Open(append(host.Request("GET", "/"), request...))
	s.RequestHeaders(true)
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
	h.world.Advance(time.Second) // longer than any time-out
	if s.ToUpstream().Complete {
		s.ResponseHeaders(host.Response(200), true)
	}
	s.End()
	var lines []string
	for _, entry := range h.world.Logs().OfWorker(0)[h.seen:] {
		lines = append(lines, entry.Message)
	}
	h.seen += len(lines)
	return lines
}
