// Command build writes the filter's WebAssembly module to a file.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/streamlatch/streamlatch/filter/module"
)

func main() {
	out := flag.String("o", "build/streamlatch.wasm", "file to write")
	version := flag.String("version", "dev", "version that the filter reports in its log")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *out, *version); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, version string) error {
	wasm, err := module.Build(ctx, version)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	// Written beside and renamed: an Envoy that is reading the file sees the old module or the new one.
	if err := os.WriteFile(out+".new", wasm, 0o644); err != nil {
		return err
	}
	if err := os.Rename(out+".new", out); err != nil {
		return err
	}
	fmt.Printf("%s: %d KiB, version %s\n", out, len(wasm)/1024, version)
	return nil
}
