// Command quickstart is `make run`: the shipped envoy.yaml in a real Envoy, in front of the demo backend, with a line
// for every takeover. It is run from the root of the repository.
//
// Ctrl-C ends it and all that it started. If Envoy or the backend ends by itself it ends with the other, says which,
// and exits with 1.
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
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once; the kernel then ends Envoy

	o, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // flag has said why
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
	flags.IntVar(&o.listen, "listen", 10000, "`port` that Envoy serves on; 0: any free one")
	flags.IntVar(&o.internal, "internal", 10001, "`port` that Envoy serves the filter's admin path on; 0: any free one")
	flags.IntVar(&o.admin, "admin", 9901, "`port` of Envoy's admin interface; 0: any free one")
	flags.IntVar(&o.backend, "backend", 8080, "`port` of the demo backend; 0: any free one")
	flags.StringVar(&o.wasm, "wasm", "build/streamlatch.wasm", "`path` of the filter")
	flags.StringVar(&o.log, "log", "build/envoy.log", "`path` of the file that gets all that Envoy writes")
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
