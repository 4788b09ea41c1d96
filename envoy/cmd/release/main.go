// Command release makes the files of a release: `make release VERSION=v1.2.3`, which builds the
// filter in between. It is run from the root of the repository.
//
//	release -check -version v1.2.3    is there anything against a release?
//	release -version v1.2.3           build/release, with build/streamlatch.wasm as the filter
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

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
		fmt.Fprintf(os.Stderr, "release: %s\n", strings.ReplaceAll(err.Error(), "\n", "\nrelease: "))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	version := flags.String("version", "", "`version` to release, such as v1.2.3")
	check := flags.Bool("check", false, "check only whether the version can be released")
	root := flags.String("root", ".", "`path` of the repository")
	wasm := flags.String("wasm", filepath.Join("build", release.Module), "`path` of the filter, built with the version")
	dir := flags.String("dir", filepath.Join("build", "release"), "`path` of the directory that is made; what is in it is removed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *check {
		_, err := release.Check(ctx, *root, *version)
		return err
	}
	if err := release.Make(ctx, *root, *version, *wasm, *dir); err != nil {
		return err
	}
	files, err := os.ReadDir(*dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s, %d KiB\n", filepath.Join(*dir, f.Name()), (info.Size()+1023)/1024)
	}
	return nil
}
