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
	"time"
)

func main() {
	minutes := flag.Float64("minutes", 30, "how long the load of a soak lasts")
	members := flag.Int("members", 2000, "clients that stay")
	takeovers := flag.Int("takeovers", 50, "takeovers a second")
	guests := flag.Int("guests", 50, "clients a second that come, stay a while, and leave")
	events := flag.Int("events", 500, "events a second")
	svg := flag.String("plot", "", "`file` for the plot of a soak")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	modes := map[string]func(context.Context) error{
		"soak": soak{
			members: *members,
			load:    load{takeovers: *takeovers, guests: *guests, events: *events},
			lasts:   time.Duration(*minutes * float64(time.Minute)),
			every:   10 * time.Second,
			plot:    *svg,
		}.run,
	}
	run, ok := modes[flag.Arg(0)]
	if !ok {
		fmt.Fprintf(os.Stderr, "load: mode %q, want soak\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "load: %v\n", err)
		os.Exit(1)
	}
}
