// Command image gives this machine's container engine the images that the project uses. It is run
// from the root of the repository.
//
//	image plugin -tag streamlatch:dev    the image of build/streamlatch.wasm: `make image`
//	image envoy                          prints the name of an Envoy image, built here if need be
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/streamlatch/streamlatch/envoy/container"
	"github.com/streamlatch/streamlatch/envoy/proxy"
	"github.com/streamlatch/streamlatch/envoy/release"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	image := ""
	if len(args) > 0 {
		image, args = args[0], args[1:]
	}
	switch image {
	case "plugin":
		return plugin(ctx, args, out)
	case "envoy":
		return envoyImage(ctx, args, out)
	}
	return fmt.Errorf("unknown image %q, want \"plugin\" or \"envoy\"", image)
}

// plugin makes the image of the filter's module and loads it into the engine.
func plugin(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("plugin", flag.ContinueOnError)
	wasm := flags.String("wasm", "build/streamlatch.wasm", "`path` of the module")
	version := flags.String("version", "dev", "version of the module, for the image's label")
	tag := flags.String("tag", "", "`name` of the image; default streamlatch:VERSION")
	if err := parse(flags, args); err != nil {
		return err
	}
	name := cmp.Or(*tag, "streamlatch:"+*version)
	if !strings.Contains(path.Base(name), ":") {
		name += ":latest" // as engines do
	}
	engine, err := container.Find(ctx)
	if err != nil {
		return err
	}
	module, err := os.ReadFile(*wasm)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s: run `make build` first, in the root of the repository", *wasm)
	}
	if err != nil {
		return err
	}
	commit, err := release.Head(ctx, ".")
	if err != nil { // not a repository, or no git: the image has a fixed time and no revision
		commit = release.Commit{Time: time.Unix(0, 0)}
	}
	archive, err := release.Image{Name: name, Wasm: module, Version: *version, Commit: commit}.Archive()
	if err != nil {
		return err
	}
	if err := engine.Load(ctx, archive); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: plugin.wasm, %d KiB, version %s; loaded into %s\n", name, len(module)/1024, *version, engine)
	fmt.Fprintf(out, "To copy the filter into an image of Envoy:\n  COPY --from=%s /plugin.wasm /etc/envoy/streamlatch.wasm\n", name)
	return nil
}

// envoyImage prints the image's name, and on stderr how it was found.
func envoyImage(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("envoy", flag.ContinueOnError)
	dir := flags.String("dir", "build", "`path` of the directory that keeps a downloaded Envoy")
	if err := parse(flags, args); err != nil {
		return err
	}
	finder := proxy.Finder{Dir: *dir, Say: func(sentence string) { fmt.Fprintln(os.Stderr, sentence) }}
	c, err := finder.FindImage(ctx)
	if err != nil {
		return err
	}
	version, err := proxy.VersionOf(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "Envoy %s in %s, run by %s.\n", version, c.Image, c.Engine)
	fmt.Fprintln(out, c.Image)
	return nil
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return nil
}
