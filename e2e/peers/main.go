// Command peers measures the filter beside what its users would build instead: an ext_proc server
// in Go with Redis, and backends that find each other through Redis. In the mode fleet it measures
// two Envoys, with etcd, beside one. Run it from the root of the repository, with make bench-peers
// or make bench-fleet. It needs redis-server, and etcd for a fleet.
//
// Each contender has an Envoy, a backend in a process of its own, and what else it needs. They take
// turns. What is counted is the CPU time of all their processes and of Redis or etcd, but not of
// the clients.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	rounds := flag.Int("rounds", 21, "rounds, in each of which all contenders are measured once")
	streams := flag.Int("streams", 2000, "streams of one event in one measurement")
	open := flag.Int("open", 8000, "open streams during the takeovers")
	takeovers := flag.Int("takeovers", 2000, "takeovers")
	redis := flag.String("redis", "", "address of Redis, for the modes backend and ext_proc; \"\": a backend without")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch mode := flag.Arg(0); mode {
	case "":
		err = compare(ctx, *rounds, *streams, *open, *takeovers)
	case "fleet":
		err = compareFleet(ctx, *rounds, *streams, *open, *takeovers)
	case "backend":
		err = serveBackend(ctx, *redis)
	case "ext_proc":
		err = serveExtProc(ctx, *redis)
	default:
		err = fmt.Errorf("mode %q, want none, fleet, backend or ext_proc", mode)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "peers: %v\n", err)
		os.Exit(1)
	}
}
