// Command demo is the demo backend without Envoy. envoy/compose.yaml runs it in a container. The
// quick start does not need it, because it contains the backend. With -config it prints the
// configuration of the Envoy in front of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // parseFlags has printed the error
	}
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	listen         string
	interval       time.Duration
	edge, internal string
	config, fleet  bool
}

// parseFlags prints its error, and the help, on out.
func parseFlags(args []string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "`address` to serve on; port 0: any free port")
	flags.DurationVar(&o.interval, "interval", time.Second, "time between two events of a stream")
	flags.StringVar(&o.edge, "edge", "127.0.0.1:10000", "`address` of Envoy's listener for clients, for the page; a comma between those of two Envoys")
	flags.StringVar(&o.internal, "internal", "127.0.0.1:10001", "`address` of Envoy's listener for operators, for the page; likewise")
	flags.BoolVar(&o.config, "config", false, "print the configuration of Envoy that the page needs, and exit")
	flags.BoolVar(&o.fleet, "fleet", false, "with -config: of an Envoy in a fleet")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	if flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	} else if o.interval <= 0 {
		err = fmt.Errorf("-interval %v, want more than 0s", o.interval)
	} else if a, b := strings.Count(o.edge, ","), strings.Count(o.internal, ","); a != b {
		err = fmt.Errorf("-edge has %d addresses and -internal has %d, want as many", a+1, b+1)
	}
	if err != nil {
		fmt.Fprintln(out, err)
	}
	return o, err
}

// run serves until ctx ends, which is not an error.
func run(ctx context.Context, o options, out io.Writer) error {
	if o.config {
		render, settings := demo.Render, envoy.Settings{Listener: 10000, Internal: 10001, Admin: 9901, Backend: 8080}
		if o.fleet {
			render, settings.Etcd = demo.RenderFleet, 2379
		}
		config, err := render(settings)
		fmt.Fprint(out, config)
		return err
	}
	listener, err := net.Listen("tcp", o.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("-listen %q: address in use: stop the program that uses it, or choose another address", o.listen)
	}
	if err != nil {
		return fmt.Errorf("-listen %q: %w", o.listen, err)
	}
	backend := demo.New(o.interval)
	edges, internals := strings.Split(o.edge, ","), strings.Split(o.internal, ",")
	var gateways []demo.Gateway
	for i := range edges {
		gateways = append(gateways, demo.Gateway{Edge: edges[i], Internal: internals[i]})
	}
	backend.Behind(gateways...)
	server := demo.NewServer(backend)
	stop := context.AfterFunc(ctx, func() { server.Close() }) // Shutdown would wait for the streams, which do not end
	defer stop()
	fmt.Fprintf(out, "The demo backend serves on http://%s/\n", listener.Addr())
	err = server.Serve(listener)
	if ctx.Err() != nil {
		return nil
	}
	return err
}
