// Command image makes images with this machine's container engine. It is run from the root of the repository.
//
//	image plugin -tag streamlatch:dev    the filter's module, build/streamlatch.wasm, as an image: `make image`
//	image envoy                          prints the name of an image with an Envoy, and makes one if need be: `make e2e-container`
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/container"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	what := ""
	if len(args) > 0 {
		what, args = args[0], args[1:]
	}
	switch what {
	case "plugin":
		return plugin(ctx, args)
	case "envoy":
		return envoyImage(ctx, args)
	}
	return fmt.Errorf("%q is no image that is made here: want plugin or envoy", what)
}

// plugin makes the image of the module.
func plugin(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("plugin", flag.ContinueOnError)
	wasm := flags.String("wasm", "build/streamlatch.wasm", "`path` of the module")
	version := flags.String("version", "dev", "version of the module, for the image's label")
	tag := flags.String("tag", "", "`name` of the image; streamlatch:VERSION if there is none")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *tag == "" {
		*tag = "streamlatch:" + *version
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
	dir, err := os.MkdirTemp("", "streamlatch-plugin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "plugin.wasm"), module, 0o644); err != nil {
		return err
	}
	labels := map[string]string{
		"org.opencontainers.image.title":       "streamlatch",
		"org.opencontainers.image.description": "One live event stream per client, in Envoy: a proxy-wasm filter",
		"org.opencontainers.image.version":     *version,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      "https://github.com/streamlatch/streamlatch",
	}
	revision, committed := commit(ctx)
	if revision != "" {
		labels["org.opencontainers.image.revision"] = revision
	}
	build := container.Build{Dir: dir, Recipe: envoy.Containerfile, Tag: *tag, Labels: labels, Time: committed}
	if err := engine.Build(ctx, build); err != nil {
		return err
	}
	fmt.Printf("%s: plugin.wasm, %d KiB, version %s; made by %s\n", *tag, len(module)/1024, *version, engine)
	return nil
}

// commit returns the commit that is checked out and its time, by which an image of it is the same whenever it is made;
// outside a repository none, and a time that is as fixed.
func commit(ctx context.Context) (revision string, at time.Time) {
	output, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%H %ct").Output()
	revision, seconds, _ := strings.Cut(strings.TrimSpace(string(output)), " ")
	unix, err2 := strconv.ParseInt(seconds, 10, 64)
	if err != nil || err2 != nil {
		return "", time.Unix(0, 0)
	}
	return revision, time.Unix(unix, 0)
}

// envoyImage prints an image's name, and what there is to say besides to those who watch.
func envoyImage(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("envoy", flag.ContinueOnError)
	dir := flags.String("dir", "build", "`path` of the directory in which a fetched Envoy is kept")
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
	fmt.Println(c.Image)
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
