// Command load holds many event streams open through a real Envoy with the filter, under load, and
// checks what the filter promises: at most one live stream a client, the newest one, and counters
// that are true. Run it from the root of the repository, with make soak.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"
)

func main() {
	minutes := flag.Float64("minutes", 30, "how long the load of a soak lasts")
	members := flag.Int("members", 2000, "clients that stay")
	takeovers := flag.Int("takeovers", 50, "takeovers a second")
	guests := flag.Int("guests", 50, "clients a second that come, stay a while, and leave")
	stay := flag.Duration("stay", 10*time.Second, "the longest that such a client stays")
	events := flag.Int("events", 500, "events a second")
	workers := flag.Int("workers", workers, "worker threads of Envoy in a soak")
	h2Only := flag.Bool("h2-only", false, "in a soak all clients speak HTTP/2; more than some 9,000 members need it, as Envoy has 20,000 files")
	h1 := flag.Int("h1", 10_000, "streams over HTTP/1.1 whose size is measured; Envoy and this program need a file for each")
	h2 := flag.Int("h2", 100_000, "streams over HTTP/2 whose size is measured")
	only := flag.String("only", "", "suffer only the faults whose name contains this `text`")
	svg := flag.String("plot", "", "`file` for the plot of a soak")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	always := load{takeovers: *takeovers, guests: *guests, events: *events, stay: *stay}
	modes := map[string]func(context.Context) error{
		"soak": soak{
			members: *members,
			h2:      *h2Only,
			workers: *workers,
			load:    always,
			lasts:   time.Duration(*minutes * float64(time.Minute)),
			every:   10 * time.Second,
			plot:    *svg,
		}.run,
		"faults": func(ctx context.Context) error {
			return runFaults(ctx, *only, extent{members: *members, load: always, times: 30, stall: 30 * time.Second, many: 20_000})
		},
		"half-open": func(ctx context.Context) error { return halfOpen(ctx, 20) },
		"hold": func(ctx context.Context) error {
			n, err := strconv.Atoi(flag.Arg(3))
			if err != nil {
				return err
			}
			return hold(ctx, flag.Arg(1), flag.Arg(2), n)
		},
		"size": func(ctx context.Context) error {
			sizes := []size{
				{"HTTP/1.1", *h1, func(address string) transport { return &overH1{address: address} }, 30 * time.Second, 100},
				{"HTTP/2", *h2, func(address string) transport { return newOverH2(address, 2+*h2/(perConn/2)) }, 30 * time.Second, 100},
			}
			for _, s := range sizes {
				if s.streams == 0 {
					continue
				}
				if err := s.run(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	}
	run, ok := modes[flag.Arg(0)]
	if !ok {
		fmt.Fprintf(os.Stderr, "load: mode %q, want soak, size, faults or half-open\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "load: %v\n", err)
		os.Exit(1)
	}
}
