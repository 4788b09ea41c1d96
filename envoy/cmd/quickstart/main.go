// Command quickstart is what `make run` runs: a real Envoy in front of the demo backend, with the
// shipped envoy.yaml, to which package demo adds what its page needs. It prints how to try the
// filter, and a line for each takeover, each refusal and each DELETE. Run it in the root of the
// repository.
//
// Ctrl-C stops Envoy and the backend. If one of them ends by itself, the program stops the other
// one and exits with status 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills the program; on Linux the kernel then kills Envoy

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
	listen, internal, admin, backend int
	wasm, log                        string
}

func parseFlags(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.IntVar(&o.listen, "listen", 10000, "`port` that Envoy serves clients on; 0: any free port")
	flags.IntVar(&o.internal, "internal", 10001, "`port` that Envoy serves the filter's admin path on; 0: any free port")
	flags.IntVar(&o.admin, "admin", 9901, "`port` of Envoy's admin interface; 0: any free port")
	flags.IntVar(&o.backend, "backend", 8080, "`port` of the demo backend; 0: any free port")
	flags.StringVar(&o.wasm, "wasm", "build/streamlatch.wasm", "`path` of the filter")
	flags.StringVar(&o.log, "log", "build/envoy.log", "`path` of the file for Envoy's log and access log")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", flags.Arg(0))
		fmt.Fprintln(flags.Output(), err)
		return o, err
	}
	return o, nil
}
