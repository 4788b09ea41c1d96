// Command proxywasm looks at proxy-wasm filters and runs them without an Envoy.
//
//	proxywasm info FILTER.wasm              what it is, what it imports, whether the host can run it
//	proxywasm run [flags] EXPECTATIONS...   play files of expectations, see host/README.md
//	proxywasm serve [flags] FILTER.wasm     put it on a port, in front of an upstream
//
// Serve is for trying a filter where there is no Envoy, with curl or a browser: HTTP/1.1 and HTTP/2
// without TLS, event streams, and the resets that the filter makes. It keeps in memory what has
// passed on every open stream, so it is no proxy for real use.
//
// Exit codes: 0; 1 if an expectation is not met or the filter cannot run; 2 if it was called
// wrongly.
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
)

const usage = `usage:
  proxywasm info FILTER.wasm              what it is, what it imports, whether the host can run it
  proxywasm run [flags] EXPECTATIONS...   play files of expectations
  proxywasm serve [flags] FILTER.wasm     put it on a port, in front of an upstream
flags of run:
  -trace           write every callback and every hostcall
  -update          write the golden traces that the files name
  -filter FILE     the filter, whatever the file of expectations says
  -config FILE     the filter's configuration, whatever the file says
flags of serve:
  -upstream URL    where requests go that pass the filter; required
  -listen ADDRESS  default 127.0.0.1:10000
  -workers N       default 2
  -config FILE     the configuration of the filter
  -vm-config FILE  the configuration of its VM
  -root-id ID      for a .wasm with several filters
`

// errUsage is the error of a command line that makes no sense.
var errUsage = errors.New("wrong arguments")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command runs the program and returns its exit code.
func command(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	err := func() error {
		if len(arguments) == 0 {
			return errUsage
		}
		switch name, rest := arguments[0], arguments[1:]; name {
		case "help", "-h", "-help", "--help":
			return flag.ErrHelp
		case "info":
			if len(rest) != 1 {
				return errUsage
			}
			return info(ctx, rest[0], stdout)
		case "run":
			flags := flag.NewFlagSet("run", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			trace := flags.Bool("trace", false, "")
			var g given
			flags.BoolVar(&g.update, "update", false, "")
			flags.StringVar(&g.filter, "filter", "", "")
			flags.StringVar(&g.config, "config", "", "")
			if err := parse(flags, rest); err != nil {
				return err
			}
			if *trace {
				g.trace = stdout
			}
			if isTerminal(stderr) {
				g.terminal = stderr
			}
			return run(ctx, flags.Args(), g, stdout)
		case "serve":
			var s settings
			flags := flag.NewFlagSet("serve", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			flags.StringVar(&s.listen, "listen", "127.0.0.1:10000", "")
			flags.StringVar(&s.upstream, "upstream", "", "")
			flags.StringVar(&s.config, "config", "", "")
			flags.StringVar(&s.vmConfig, "vm-config", "", "")
			flags.StringVar(&s.rootID, "root-id", "", "")
			flags.IntVar(&s.workers, "workers", 2, "")
			if err := parse(flags, rest); err != nil {
				return err
			}
			if flags.NArg() > 1 || s.workers < 1 {
				return errUsage
			}
			return serve(ctx, flags.Arg(0), s, stdout, func(address net.Addr) {
				fmt.Fprintf(stdout, "%s serves at http://%s, in front of %s\n", flags.Arg(0), address, s.upstream)
			})
		default:
			return fmt.Errorf("%w: %q, want info, run or serve", errUsage, name)
		}
	}()
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "proxywasm: %v\n%s", err, usage)
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "proxywasm: %v\n", err)
		return 1
	}
	return 0
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// parse reads flags. At least one argument must follow them.
func parse(flags *flag.FlagSet, arguments []string) error {
	err := flags.Parse(arguments)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	case flags.NArg() == 0:
		return fmt.Errorf("%w: no file", errUsage)
	}
	return nil
}
