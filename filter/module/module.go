// Package module builds the filter into the WebAssembly module that Envoy loads.
//
// It is `go build` for wasip1 with one step after the link: a table of Go's runtime is sixteen times as long as what is
// read of it, and the rest is taken out.
package module

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Package is the import path of the filter's main package.
const Package = "github.com/streamlatch/streamlatch/filter"

// Build compiles the filter, stamped with version, without what of the runtime's tables nobody reads. It runs the go command in the current directory, which must be inside the module.
func Build(ctx context.Context, version string) ([]byte, error) {
	wasm, err := Compile(ctx, Package, "-X=main.version="+version)
	if err != nil {
		return nil, err
	}
	return ShrinkFindFunc(wasm)
}

// Compile builds a main package for Envoy as the SDK's users do, with extra flags for the linker.
func Compile(ctx context.Context, pkg string, ldflags string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "streamlatch-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "out.wasm")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w "+ldflags, "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s for wasip1: %w\n%s", pkg, err, output)
	}
	return os.ReadFile(out)
}
