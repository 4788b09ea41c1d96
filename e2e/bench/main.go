// Command bench measures what the filter costs and how fast it acts. Run it with `make bench`.
//
// Costs are CPU time of the Envoy process, not elapsed time. The Envoys that are compared take
// turns in one run, and the results are ratios. So a machine that is slow or busy affects all of
// them alike. Each figure is the median of all rounds.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
)

func main() {
	rounds := flag.Int("rounds", 41, "number of rounds, in each of which all variants are measured once")
	requests := flag.Int("requests", 4000, "requests in one measurement; a short one, so that noise affects all variants alike")
	streams := flag.Int("streams", 8000, "number of open event streams during the takeovers")
	takeovers := flag.Int("takeovers", 2000, "takeovers")
	other := flag.String("other", "", "module `files` to measure beside this build, with commas between")
	only := flag.String("only", "requests,streams,features,takeovers,claims,hostile", "what to measure")
	flag.Parse()
	others := strings.FieldsFunc(*other, func(r rune) bool { return r == ',' })

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("%d CPUs, %s\n", runtime.NumCPU(), runtime.Version())
	for _, b := range []struct {
		name string
		run  func() error
	}{
		{"requests", func() error { return benchRequests(ctx, *rounds, *requests, others) }},
		{"streams", func() error { return benchStreams(ctx, *rounds, *requests, others) }},
		{"features", func() error { return benchFeatures(ctx, *rounds, *requests/8, others) }},
		{"takeovers", func() error { return benchTakeovers(ctx, *streams, *takeovers) }},
		{"claims", func() error { return benchClaims(ctx, *rounds) }},
		{"hostile", func() error { return benchHostile(ctx, *rounds) }},
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

// module returns a [rig.Options.Module] that reads a file.
func module(file string) func() ([]byte, error) {
	return func() ([]byte, error) { return os.ReadFile(file) }
}
