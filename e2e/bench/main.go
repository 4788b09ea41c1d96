// Command bench measures what the filter costs and how fast it acts: `make bench`.
//
// Costs are CPU time of the Envoy process and not time on the clock, of several Envoys that take turns within one run,
// and are told as ratios: a machine that is slow today, or busy with something else, is so for all of them. A figure
// is the median over the rounds.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
)

func main() {
	rounds := flag.Int("rounds", 41, "rounds in which those that are compared take turns")
	requests := flag.Int("requests", 4000, "requests of a turn: short ones, so that all meet the same noise")
	streams := flag.Int("streams", 8000, "event streams open during the takeovers")
	takeovers := flag.Int("takeovers", 2000, "takeovers")
	only := flag.String("only", "requests,features,takeovers,claims", "what to measure")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("%d CPUs, %s\n", runtime.NumCPU(), runtime.Version())
	for _, b := range []struct {
		name string
		run  func() error
	}{
		{"requests", func() error { return benchRequests(ctx, *rounds, *requests) }},
		{"features", func() error { return benchFeatures(ctx, *rounds, *requests/8) }},
		{"takeovers", func() error { return benchTakeovers(ctx, *streams, *takeovers) }},
		{"claims", func() error { return benchClaims(ctx, *rounds) }},
	} {
		if !slices.Contains(strings.Split(*only, ","), b.name) {
			continue
		}
		if err := b.run(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", b.name, err)
			os.Exit(1)
		}
	}
}

// quantile returns the smallest value that at least q of them do not exceed.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func median(values []float64) float64 { return quantile(values, 0.5) }
