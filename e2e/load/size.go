package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A size measures an Envoy with many streams, and the same Envoy without the filter.
type size struct {
	protocol string
	streams  int
	over     func(address string) transport
	calm     time.Duration // how long nothing happens, and then takeovers happen
	rate     int           // takeovers a second
}

// A sized is what size measures. Without the filter a takeover is a client that opens a stream and
// hangs up its other one.
type sized struct {
	added       memory  // by the streams
	registry    int     // bytes
	idle        float64 // CPU of Envoy when nothing happens, percent of a core
	took        *hdrhistogram.Histogram
	perTakeover time.Duration // CPU of Envoy
	storm       time.Duration // until every member that opened a stream at once had it
	stormTook   *hdrhistogram.Histogram
	left        time.Duration // until nothing was left of the streams
}

func (s size) run(ctx context.Context) error {
	var both [2]sized
	for i, bare := range []bool{true, false} {
		var err error
		if both[i], err = s.measure(ctx, bare); err != nil {
			return fmt.Errorf("%d streams over %s, bare %v: %w", s.streams, s.protocol, bare, err)
		}
	}
	s.print(both[0], both[1])
	return nil
}

func (s size) measure(ctx context.Context, bare bool) (r sized, err error) {
	e, err := setup{bare: bare, peek: !bare}.start(ctx)
	if err != nil {
		return r, err
	}
	defer e.stop()
	var before memory
	err = until(ctx, patience, func() (err error) {
		if before, err = e.memory(ctx); err == nil && before.heap == 0 {
			err = errors.New("envoy has not counted its memory")
		}
		return err
	})
	if err != nil {
		return r, err
	}
	c := newCrowd(e)
	if err := c.join(ctx, s.streams, s.over(e.Address())); err != nil {
		return r, err
	}
	settle := func(what string) error {
		took, err := c.settle(ctx)
		fmt.Printf("# %s: %v\n", what, took.Round(time.Millisecond))
		return err
	}
	if err := settle("all are open"); err != nil {
		return r, err
	}
	idle, err := e.busy(func() error { return pause(ctx, s.calm) })
	if err != nil {
		return r, err
	}
	r.idle = 100 * idle
	after, err := e.memory(ctx)
	if err != nil {
		return r, err
	}
	r.added = memory{after.rss - before.rss, after.heap - before.heap, after.guests - before.guests}
	if !bare {
		if _, r.registry, err = e.registry(ctx); err != nil {
			return r, err
		}
	}

	c.takeRecent()
	opened := c.opened.Load()
	busy, err := e.busy(func() error {
		return c.under(ctx, load{takeovers: s.rate}, func(ctx context.Context) error { return pause(ctx, s.calm) })
	})
	if err != nil {
		return r, err
	}
	r.perTakeover = time.Duration((busy - idle) * float64(s.calm) / float64(c.opened.Load()-opened))
	if err := settle("takeovers are over"); err != nil {
		return r, err
	}
	r.took = c.takeRecent()

	begun := time.Now()
	if err := c.reopen(ctx, c.members); err != nil {
		return r, err
	}
	r.storm = time.Since(begun)
	if err := settle("the storm is over"); err != nil {
		return r, err
	}
	r.stormTook = c.takeRecent()
	if err := c.complain(ctx); err != nil {
		return r, err
	}
	r.left, err = c.disperse(ctx)
	return r, err
}

// busy returns how much of a core Envoy used during f.
func (e *edge) busy(f func() error) (cores float64, err error) {
	before, err := e.cpu()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := f(); err != nil {
		return 0, err
	}
	after, err := e.cpu()
	return float64(after-before) / float64(time.Since(begun)), err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return ctx.Err()
}

func (s size) print(bare, filter sized) {
	n := float64(s.streams)
	fmt.Printf("\n| %d streams over %s, %d workers | bare Envoy | with the filter |\n|---|---|---|\n", s.streams, s.protocol, workers)
	row := func(what, format string, values ...any) {
		fmt.Printf("| "+what+" | "+format+" | "+format+" |\n", values...)
	}
	row("RSS of Envoy, bytes a stream", "%.0f", float64(bare.added.rss)/n, float64(filter.added.rss)/n)
	row("Envoy's heap, with the registry, bytes a stream", "%.0f", float64(bare.added.heap)/n, float64(filter.added.heap)/n)
	row("the registry, bytes a stream", "%.0f", float64(bare.registry)/n, float64(filter.registry)/n)
	row("linear memory of the VMs, bytes a stream", "%.0f", float64(bare.added.guests)/n, float64(filter.added.guests)/n)
	row("CPU when nothing happens, percent of a core", "%.2f", bare.idle, filter.idle)
	row("CPU a takeover, us", "%d", bare.perTakeover.Microseconds(), filter.perTakeover.Microseconds())
	fmt.Printf("| takeover: p50, p99, longest, ms | - | %s |\n", quantiles(filter.took))
	row("every client opens a second stream at once: until all are over, s", "%.1f", bare.storm.Seconds(), filter.storm.Seconds())
	fmt.Printf("| takeovers in it: p50, p99, longest, ms | - | %s |\n", quantiles(filter.stormTook))
	row("all leave at once: until nothing is left, s", "%.1f", bare.left.Seconds(), filter.left.Seconds())
}

func quantiles(h *hdrhistogram.Histogram) string {
	return fmt.Sprintf("%.1f, %.1f, %.1f", ms(h.ValueAtQuantile(50)), ms(h.ValueAtQuantile(99)), ms(h.Max()))
}
