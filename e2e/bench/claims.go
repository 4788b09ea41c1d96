package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/host"
)

// benchClaims measures how the cost of a claim grows with the number of live clients. It runs the module under wazero,
// where a claim can be timed alone.
func benchClaims(ctx context.Context, rounds int) error {
	const few, many, claims = 1_000, 100_000, 500
	wasm, err := rig.Filter()
	if err != nil {
		return err
	}
	module, err := host.Compile(ctx, wasm)
	if err != nil {
		return err
	}
	defer module.Close(ctx)
	small, err := newTown(module, few)
	if err != nil {
		return err
	}
	defer small.world.Close()
	large, err := newTown(module, many)
	if err != nil {
		return err
	}
	defer large.world.Close()

	// The host's own garbage collector would charge the claims for the size of the towns.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for round := -1; round < rounds; round++ {
		for _, t := range []*town{small, large} {
			runtime.GC()
			us := t.claim(claims)
			if round >= 0 {
				t.us = append(t.us, us)
			}
		}
	}
	ratios := make([]float64, rounds)
	for i := range ratios {
		ratios[i] = large.us[i] / small.us[i]
	}
	fmt.Printf("\nA claim (the response callback of a new client's stream) under wazero, medians of %d rounds of %d\n\n", rounds, claims)
	fmt.Println("| live clients | us a claim | ratio |")
	fmt.Println("|---|---|---|")
	fmt.Printf("| %d | %.1f | 1 |\n", few, median(small.us))
	fmt.Printf("| %d | %.1f | %.2f |\n", many, median(large.us), median(ratios))
	return nil
}

// A town is a world with live clients.
type town struct {
	world *host.World
	next  int // number of the next client
	us    []float64
}

func newTown(module *host.Module, clients int) (*town, error) {
	world, err := host.NewWorld(module, host.Config{Workers: 2, PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}]}]}`)})
	if err != nil {
		return nil, err
	}
	t := &town{world: world}
	for range clients {
		t.request().ResponseHeaders(eventStream, false)
	}
	if got := world.Metrics().Gauges["streamlatch.events.active"]; got != uint64(clients) {
		return nil, fmt.Errorf("%d streams in the registry, want %d", got, clients)
	}
	return t, nil
}

var eventStream = host.Response(200, "content-type", "text/event-stream")

// request lets the request of a client arrive that was not there before.
func (t *town) request() *host.Stream {
	t.next++
	s := t.world.Worker(t.next % 2).Open(host.Request("GET", "/events", "x-client-id", strconv.Itoa(t.next)))
	s.RequestHeaders(true)
	return s
}

// claim lets new clients come, one after the other, and returns how long their claims took on average, in
// microseconds. Each goes away before the next, so the number of live clients stays.
func (t *town) claim(n int) float64 {
	var took time.Duration
	for range n {
		s := t.request()
		begin := time.Now()
		s.ResponseHeaders(eventStream, false)
		took += time.Since(begin)
		s.End()
	}
	return float64(took) / float64(time.Microsecond) / float64(n)
}
