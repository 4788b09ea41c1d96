package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// A Build describes an image.
type Build struct {
	Dir    string            // the build context: nothing outside it gets into the image
	Recipe string            // the text of the Containerfile
	Tag    string            // the image's name
	Args   map[string]string // of the recipe
}

// buildLimit is how long a build may go on after its context has ended.
const buildLimit = 30 * time.Second

// Build makes an image from what is on this machine. If ctx ends, the build still has [buildLimit]
// to finish: podman keeps the unfinished image of an interrupted build, under no name.
func (e Engine) Build(ctx context.Context, b Build) error {
	recipe, err := temporary("streamlatch-containerfile-", []byte(b.Recipe))
	if err != nil {
		return err
	}
	defer os.Remove(recipe)
	args := []string{"build", "--quiet", "--file", recipe, "--tag", b.Tag}
	for _, key := range slices.Sorted(maps.Keys(b.Args)) {
		args = append(args, "--build-arg", key+"="+b.Args[key])
	}
	cmd := e.Command(ctx, append(args, b.Dir)...)
	cmd.SysProcAttr = ownGroup() // a Ctrl-C would interrupt it
	cmd.Cancel = func() error { return nil }
	cmd.WaitDelay = buildLimit
	if _, err := answer(ctx, cmd); err != nil {
		return fmt.Errorf("build %s: %w", b.Tag, err)
	}
	return nil
}

// Load adds the image in an archive to the engine's images, under the name in the archive.
func (e Engine) Load(ctx context.Context, archive []byte) error {
	file, err := temporary("streamlatch-image-", archive)
	if err != nil {
		return err
	}
	defer os.Remove(file)
	if _, err := e.Output(ctx, "load", "--quiet", "--input", file); err != nil {
		return fmt.Errorf("load an image: %w", err)
	}
	return nil
}

// temporary writes a new file in the directory for temporary files and returns its path.
func temporary(prefix string, content []byte) (string, error) {
	file, err := os.CreateTemp("", prefix)
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Close()); err != nil {
		os.Remove(file.Name())
		return "", err
	}
	return file.Name(), nil
}
