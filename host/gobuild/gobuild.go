// Package gobuild builds a proxy-wasm guest written in Go, so that a test can build the filter it
// is about.
//
// It is what a person would type:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags '-s -w' \
//		-o filter.wasm ./filter
package gobuild

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build compiles a main package into a WebAssembly module and returns its bytes. pkg is an import
// path, or a path relative to the current directory, which must be inside the package's Go module.
// ldflags are added to the linker's "-s -w", for example "-X main.version=v1"; tags are build tags.
// The same sources give the same bytes, in any directory.
//
// The error of a failed build contains what the go command printed.
func Build(ctx context.Context, pkg, ldflags string, tags ...string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "gobuild-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w "+ldflags, "-tags", strings.Join(tags, ","), "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s for wasip1: %w\n%s", pkg, err, output)
	}
	return os.ReadFile(out)
}
