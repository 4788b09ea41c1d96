package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/streamlatch/streamlatch/e2e/measure"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/host"
)

// benchClaims measures how the cost of a claim depends on the number of live clients. It runs the
// filter in the test host, where a single claim can be timed.
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
	small, err := newPopulation(module, few)
	if err != nil {
		return err
	}
	defer small.world.Close()
	large, err := newPopulation(module, many)
	if err != nil {
		return err
	}
	defer large.world.Close()

	// The host's garbage collector would take longer with more clients, and distort the result.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for round := -1; round < rounds; round++ {
		for _, t := range []*population{small, large} {
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
	fmt.Printf("| %d | %.1f | 1 |\n", few, measure.Median(small.us))
	fmt.Printf("| %d | %.1f | %.2f |\n", many, measure.Median(large.us), measure.Median(ratios))
	return nil
}

// A population is a world with live clients.
type population struct {
	world *host.World
	next  int // number of the next client
	us    []float64
}

func newPopulation(module *host.Module, clients int) (*population, error) {
	world, err := host.NewWorld(module, host.Config{Workers: 2, PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}]}]}`)})
	if err != nil {
		return nil, err
	}
	t := &population{world: world}
	for range clients {
		t.request().ResponseHeaders(eventStream, false)
	}
	if got := world.Metrics().Gauges["streamlatch.events.active"]; got != uint64(clients) {
		return nil, fmt.Errorf("%d streams in the registry, want %d", got, clients)
	}
	return t, nil
}

var eventStream = host.Response(200, "content-type", "text/event-stream")

// request lets the request of a new client arrive.
func (t *population) request() *host.Stream {
	t.next++
	s := t.world.Worker(t.next % 2).Open(host.Request("GET", "/events", "x-client-id", strconv.Itoa(t.next)))
	s.RequestHeaders(true)
	return s
}

// claim lets n new clients come one after the other, and returns the average time of their claims
// in microseconds. Each leaves before the next comes, so the number of live clients stays the same.
func (t *population) claim(n int) float64 {
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
