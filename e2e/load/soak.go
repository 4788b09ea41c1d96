package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"time"
)

// A sample is what was seen at one moment of a soak.
type sample struct {
	at            time.Duration // since the beginning of the load
	memory        memory
	keys, bytes   int     // of the registry, see edge.registry
	p50, p99, max float64 // of the takeovers since the last sample, ms
	cpu           float64 // of Envoy since the last sample, percent of one core
	active        int64   // the filter's gauge
}

// A soak is a crowd under load for a long time.
type soak struct {
	members int           // half of them over HTTP/1.1
	h2      bool          // no, all of them over HTTP/2
	workers int           // of Envoy
	load    load          // all the time
	lasts   time.Duration // of the load
	every   time.Duration // between two samples
	plot    string        // a file for the picture; "": none
}

func (s soak) run(ctx context.Context) error {
	e, err := setup{workers: s.workers, peek: true}.start(ctx)
	if err != nil {
		return err
	}
	defer e.stop()
	c := newCrowd(e)
	join, over := c.joinBoth, "half over HTTP/1.1 and half over HTTP/2"
	if s.h2 {
		join, over = c.joinH2, "over HTTP/2"
	}
	if err := join(ctx, s.members); err != nil {
		return err
	}
	if _, err := c.settle(ctx); err != nil {
		return fmt.Errorf("before the load: %w", err)
	}
	fmt.Printf("%d members, %s, %d workers; a second %d takeovers, %d guests that come and go, %d events\n",
		s.members, over, s.workers, s.load.takeovers, s.load.guests, s.load.events)

	var samples []sample
	err = c.under(ctx, s.load, func(ctx context.Context) (err error) {
		samples, err = s.watch(ctx, c)
		return err
	})
	if err != nil {
		return err
	}
	settled, err := c.settle(ctx)
	if err != nil {
		return fmt.Errorf("after the load: %w", err)
	}
	members, complaint := len(c.members), c.complain(ctx)
	left, err := c.disperse(ctx)
	if err != nil {
		return fmt.Errorf("after all have left: %w", err)
	}
	c.takeRecent()
	printSoak(samples, c)
	fmt.Printf("\nAfter the load every member had its newest stream and no other, backend and filter counted %d: %v after the last open.\n",
		members, settled.Round(time.Millisecond))
	fmt.Printf("After all had left, backend, Envoy and filter counted 0: after %v.\n", left.Round(time.Millisecond))
	if s.plot != "" {
		if err := os.WriteFile(s.plot, plot(samples), 0o644); err != nil {
			return err
		}
	}
	return complaint
}

// watch takes samples until the load has lasted, and prints a line for each.
func (s soak) watch(ctx context.Context, c *crowd) ([]sample, error) {
	var samples []sample
	begun, last := time.Now(), time.Now()
	busy, err := c.edge.cpu()
	if err != nil {
		return nil, err
	}
	for time.Since(begun) < s.lasts {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.edge.Envoy().Done():
			return nil, fmt.Errorf("envoy has ended: %w", c.edge.Envoy().Err())
		case <-time.After(s.every):
		}
		now := sample{at: time.Since(begun)}
		if now.memory, err = c.edge.memory(ctx); err != nil {
			return nil, err
		}
		until, err := c.edge.cpu()
		if err != nil {
			return nil, err
		}
		now.cpu = 100 * float64(until-busy) / float64(time.Since(last))
		busy, last = until, time.Now()
		if now.keys, now.bytes, err = c.edge.registry(ctx); err != nil {
			return nil, err
		}
		active, err := stats(ctx, c.edge.Rig, "wasmcustom.streamlatch.events.active")
		if err != nil {
			return nil, err
		}
		now.active = active[0]
		took := c.takeRecent()
		now.p50, now.p99, now.max = ms(took.ValueAtQuantile(50)), ms(took.ValueAtQuantile(99)), ms(took.Max())
		samples = append(samples, now)
		fmt.Printf("%6.0fs  active %d, RSS %.0f MB, guests %.0f MB, registry %d keys %.2f MB, CPU %.0f %%, takeovers %d p50 %.1f p99 %.1f max %.1f ms, refused %d, failed %d, lost %d\n",
			now.at.Seconds(), now.active, mb(now.memory.rss), mb(now.memory.guests), now.keys, mb(int64(now.bytes)), now.cpu,
			c.took.Load(), now.p50, now.p99, now.max, c.refused.Load(), c.failed.Load(), c.lost.Load())
	}
	return samples, nil
}

// printSoak prints what a reader wants to know: is it flat? The first tenth of the time does not
// count, because guests and registry are growing to their size then.
func printSoak(samples []sample, c *crowd) {
	if len(samples) == 0 {
		return
	}
	first, last := samples[len(samples)/10], samples[len(samples)-1]
	cpu := 0.0
	for _, s := range samples {
		cpu += s.cpu / float64(len(samples))
	}
	fmt.Printf("\n| | after %v | after %v |\n|---|---|---|\n", first.at.Round(time.Second), last.at.Round(time.Second))
	fmt.Printf("| RSS of Envoy, MB | %.1f | %.1f |\n", mb(first.memory.rss), mb(last.memory.rss))
	fmt.Printf("| linear memory of all VMs, MB | %.1f | %.1f |\n", mb(first.memory.guests), mb(last.memory.guests))
	fmt.Printf("| keys in the registry | %d | %d |\n", first.keys, last.keys)
	fmt.Printf("| bytes in the registry, with the keys, MB | %.2f | %.2f |\n", mb(int64(first.bytes)), mb(int64(last.bytes)))
	fmt.Printf("\n%d streams were opened, %d takeovers: p50 %.1f ms, p99 %.1f ms, longest %.1f ms. Refused %d, failed %d, lost %d. CPU of Envoy %.0f %% of a core.\n",
		c.opened.Load(), c.took.Load(), ms(c.all.ValueAtQuantile(50)), ms(c.all.ValueAtQuantile(99)), ms(c.all.Max()),
		c.refused.Load(), c.failed.Load(), c.lost.Load(), cpu)
}

// ms converts microseconds, and keeps a millionth.
func ms(us int64) float64 { return math.Round(float64(us)) / 1000 }

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }
