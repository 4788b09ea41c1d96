package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/streamlatch/streamlatch/envoy/container"
)

// ImageVariable is the environment variable that names an image of Envoy.
const ImageVariable = "ENVOY_IMAGE"

// OfficialImage is the Envoy project's image of the pinned version.
var OfficialImage = "docker.io/envoyproxy/envoy:v" + pinnedVersion.String()

// builtImage is the image that FindImage builds from the pinned binary if it cannot pull
// OfficialImage.
var builtImage = "localhost/streamlatch/envoy:v" + pinnedVersion.String()

// FindImage calls [Finder.FindImage] with dir as the directory and without messages to the user.
func FindImage(ctx context.Context, dir string) (Container, error) {
	return Finder{Dir: dir}.FindImage(ctx)
}

// FindImage returns an Envoy in an image, and makes sure that the container engine of this machine
// has the image. It takes the first of:
//
//  1. the image that the environment variable ENVOY_IMAGE names; an error if it cannot be pulled,
//     or if the filter cannot run in it,
//  2. [OfficialImage], pulled if necessary,
//  3. an image that it builds from the pinned binary of [Finder.Find]; the engine keeps it.
//
// An error is one sentence that says what the user can do.
func (f Finder) FindImage(ctx context.Context) (Container, error) {
	engine, err := container.Find(ctx)
	if err != nil {
		return Container{}, err
	}
	if image := os.Getenv(ImageVariable); image != "" {
		c := Container{engine, image}
		if err := c.pullIfMissing(ctx); err != nil {
			return Container{}, fmt.Errorf("%s cannot pull %s %q: %w; set it to the full name, with the registry, of an image of Envoy", engine, ImageVariable, image, err)
		}
		if err := checkUsable(ctx, c); err != nil {
			return Container{}, fmt.Errorf("cannot use %s %q: %w; set it to an image of Envoy %s or newer", ImageVariable, image, err, Oldest)
		}
		return c, nil
	}
	official, built := Container{engine, OfficialImage}, Container{engine, builtImage}
	if engine.Has(ctx, OfficialImage) {
		return official, nil
	}
	f.sayf("Pulling %s (only once).", OfficialImage)
	err = engine.Pull(ctx, OfficialImage)
	if err == nil {
		return official, nil
	}
	if ctx.Err() != nil {
		return Container{}, fmt.Errorf("pull %s: %w", OfficialImage, context.Cause(ctx))
	}
	if engine.Has(ctx, builtImage) {
		f.sayf("Cannot pull it (%v). Using %s, which was built earlier.", err, builtImage)
		return built, nil
	}
	f.sayf("Cannot pull it (%v). Building %s from the pinned Envoy.", err, builtImage)
	if err := f.buildImage(ctx, built); err != nil {
		return Container{}, fmt.Errorf("make an image of Envoy: %w", err)
	}
	return built, nil
}

func (c Container) pullIfMissing(ctx context.Context) error {
	if c.Engine.Has(ctx, c.Image) {
		return nil
	}
	return c.Engine.Pull(ctx, c.Image)
}

// buildImage builds c.Image from the pinned binary and its dynamic libraries.
func (f Finder) buildImage(ctx context.Context, c Container) error {
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return err
	}
	binary, err := pinned{dir: dir, say: f.sayf}.path(ctx)
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "streamlatch-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	files, err := libraries(ctx, binary)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := copyFile(file, filepath.Join(root, file)); err != nil {
			return err
		}
	}
	if err := copyFile(binary, filepath.Join(root, "usr/local/bin/envoy")); err != nil {
		return err
	}
	return c.Engine.Build(ctx, container.Build{Dir: root, Recipe: "FROM scratch\nCOPY . /\n", Tag: c.Image})
}

// libraries returns the paths of the dynamic libraries of a program and of their loader. The
// program looks for them under the same paths in the image.
func libraries(ctx context.Context, program string) ([]string, error) {
	output, err := exec.CommandContext(ctx, "ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	paths := slices.DeleteFunc(strings.Fields(string(output)), func(word string) bool { return !filepath.IsAbs(word) })
	if len(paths) == 0 {
		return nil, fmt.Errorf("ldd %s: no library in %.100q", program, output)
	}
	return paths, nil
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
