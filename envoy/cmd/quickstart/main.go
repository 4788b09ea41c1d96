// Command quickstart is what `make run` runs: a real Envoy in front of the demo backend, with the
// shipped envoy.yaml, to which package demo adds what its page needs. It prints how to try the
// filter, and a line for each takeover, each refusal and each DELETE. Run it in the root of the
// repository.
//
// With -fleet, as in `make run-fleet`, it runs two Envoys with the shipped fleet/envoy.yaml in
// front of the same backend, and the etcd that they share.
//
// Ctrl-C stops all of them. If one ends by itself, the program stops the others and exits with
// status 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills the program; on Linux the kernel then kills what it has started

	o, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // parseFlags has printed the error
	}
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "quickstart: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	first, second     ports // of the Envoys; there is a second one in a fleet only
	backend, etcdPort int
	fleet             bool
	wasm, log         string
}

// ports are those of an Envoy.
type ports struct{ listen, internal, admin int }

// fleetOnly are the flags that mean something with -fleet only.
var fleetOnly = []string{"listen-b", "internal-b", "admin-b", "etcd"}

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.IntVar(&o.first.listen, "listen", 10000, "`port` that Envoy serves clients on; 0: any free port")
	flags.IntVar(&o.first.internal, "internal", 10001, "`port` that Envoy serves the filter's admin path on; 0: any free port")
	flags.IntVar(&o.first.admin, "admin", 9901, "`port` of Envoy's admin interface; 0: any free port")
	flags.IntVar(&o.backend, "backend", 8080, "`port` of the demo backend; 0: any free port")
	flags.BoolVar(&o.fleet, "fleet", false, "run two Envoys that keep one promise over an etcd")
	flags.IntVar(&o.second.listen, "listen-b", 10010, "with -fleet: `port` that the second Envoy serves clients on")
	flags.IntVar(&o.second.internal, "internal-b", 10011, "with -fleet: `port` that the second Envoy serves the filter's admin path on")
	flags.IntVar(&o.second.admin, "admin-b", 9911, "with -fleet: `port` of the second Envoy's admin interface")
	// Not etcd's own 2379: Debian's package starts an etcd there.
	flags.IntVar(&o.etcdPort, "etcd", 12379, "with -fleet: `port` of etcd; 0: any free port")
	flags.StringVar(&o.wasm, "wasm", "build/streamlatch.wasm", "`path` of the filter")
	flags.StringVar(&o.log, "log", "build/envoy.log", "`path` of the file for Envoy's log and access log; with -fleet, those of the second Envoy and of etcd are beside it")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	flags.Visit(func(f *flag.Flag) {
		if !o.fleet && slices.Contains(fleetOnly, f.Name) {
			err = fmt.Errorf("-%s needs -fleet", f.Name)
		}
	})
	if flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(flags.Output(), err)
	}
	return o, err
}
