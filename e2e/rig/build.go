package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/streamlatch/streamlatch/envoy/proxy"
	"github.com/streamlatch/streamlatch/host/gobuild"
)

// Version is the version that the filter of a rig reports.
const Version = "e2e"

// Filter builds the filter from the present sources and returns the module. It builds once in a
// process.
var Filter = sync.OnceValues(func() ([]byte, error) { return BuildFilter(context.Background(), Version) })

// BuildFilter builds the filter from the present sources. The filter reports the given version in
// its log and status.
func BuildFilter(ctx context.Context, version string) ([]byte, error) {
	return gobuild.Build(ctx, "github.com/streamlatch/streamlatch/filter", "-X main.version="+version)
}

// Guest returns a function that builds the filter e2e/guests/<name> and returns the module. It
// builds once, when it is first called.
func Guest(name string) func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) {
		return gobuild.Build(context.Background(), "github.com/streamlatch/streamlatch/e2e/guests/"+name, "")
	})
}

// Launcher returns what starts the Envoys of this process: containers of the image that the
// environment names, or else a binary.
var Launcher = sync.OnceValues(func() (proxy.Launcher, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	build := filepath.Join(root, "build")
	if os.Getenv(proxy.ImageVariable) != "" {
		return proxy.FindImage(context.Background(), build)
	}
	path, err := proxy.Find(context.Background(), build)
	return proxy.Binary(path), err
})

// Root returns the root of the repository that contains the current directory.
func Root() (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := here; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the repository: no go.mod in %s or above it", here)
		}
	}
}
