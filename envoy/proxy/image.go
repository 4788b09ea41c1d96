package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/streamlatch/streamlatch/envoy/container"
)

// ImageVariable is the environment variable that names an image of Envoy.
const ImageVariable = "ENVOY_IMAGE"

// OfficialImage is the Envoy project's, of the pinned version.
var OfficialImage = "docker.io/envoyproxy/envoy:v" + pinnedVersion.String()

// ownImage is made of the pinned binary, where no registry can be reached.
var ownImage = "localhost/streamlatch/envoy:v" + pinnedVersion.String()

// FindImage is that of a [Finder] that keeps a fetched Envoy in dir and says nothing.
func FindImage(ctx context.Context, dir string) (Container, error) {
	return Finder{Dir: dir}.FindImage(ctx)
}

// FindImage returns an Envoy in an image that this machine's container engine has then: the first of
//
//  1. what the environment variable ENVOY_IMAGE names; if that cannot be had or used it is an error,
//  2. the official one of the pinned version, from its registry if need be,
//  3. the pinned binary, for which see Find, in an image that is made here, once.
//
// The errors are one sentence that says what to do.
func (f Finder) FindImage(ctx context.Context) (Container, error) {
	engine, err := container.Find(ctx)
	if err != nil {
		return Container{}, err
	}
	if image := os.Getenv(ImageVariable); image != "" {
		c := Container{engine, image}
		if err := c.fetch(ctx); err != nil {
			return Container{}, fmt.Errorf("%s is %q, which %s cannot get: %w; give the whole name, with the registry, of an image that has an envoy", ImageVariable, image, engine, err)
		}
		if err := usable(ctx, c); err != nil {
			return Container{}, fmt.Errorf("%s is %q, which cannot be used: %w; give one with an Envoy %s or newer", ImageVariable, image, err, Oldest)
		}
		return c, nil
	}
	official, own := Container{engine, OfficialImage}, Container{engine, ownImage}
	if engine.Has(ctx, OfficialImage) {
		return official, nil
	}
	f.say("Getting %s (once).", OfficialImage)
	err = engine.Pull(ctx, OfficialImage)
	if err == nil {
		return official, nil
	}
	if ctx.Err() != nil {
		return Container{}, fmt.Errorf("get %s: %w", OfficialImage, context.Cause(ctx))
	}
	if engine.Has(ctx, ownImage) {
		f.say("Cannot get it (%v): taking the one made here before.", err)
		return own, nil
	}
	f.say("Cannot get it (%v): making an image of the pinned binary.", err)
	if err := f.makeImage(ctx, own); err != nil {
		return Container{}, err
	}
	return own, nil
}

func (c Container) fetch(ctx context.Context) error {
	if c.Engine.Has(ctx, c.Image) {
		return nil
	}
	return c.Engine.Pull(ctx, c.Image)
}

// makeImage makes an image of the pinned binary and the libraries that it is linked with.
func (f Finder) makeImage(ctx context.Context, c Container) error {
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return fmt.Errorf("make an image of Envoy: %w", err)
	}
	binary, err := pinned{dir: dir, say: f.say}.path(ctx)
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "streamlatch-image-")
	if err != nil {
		return fmt.Errorf("make an image of Envoy: %w", err)
	}
	defer os.RemoveAll(root)
	files, err := libraries(ctx, binary)
	if err != nil {
		return fmt.Errorf("make an image of Envoy: %w", err)
	}
	files[binary] = "/usr/local/bin/envoy"
	for from, to := range files {
		if err := copyFile(from, filepath.Join(root, to)); err != nil {
			return fmt.Errorf("make an image of Envoy: %w", err)
		}
	}
	err = c.Engine.Build(ctx, container.Build{Dir: root, Recipe: "FROM scratch\nCOPY . /\n", Tag: c.Image})
	if err != nil {
		return fmt.Errorf("make an image of Envoy: %w", err)
	}
	return nil
}

// libraries returns the dynamic libraries of a program, and their loader, where the program looks for them.
func libraries(ctx context.Context, program string) (map[string]string, error) {
	output, err := exec.CommandContext(ctx, "ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	files := map[string]string{}
	for _, word := range strings.Fields(string(output)) {
		if filepath.IsAbs(word) {
			files[word] = word
		}
	}
	if len(files) == 0 {
		return nil, errors.New("ldd " + program + " names no library")
	}
	return files, nil
}

func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
