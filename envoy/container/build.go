package container

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// A Build describes an image.
type Build struct {
	Dir    string            // the build context: nothing outside it gets into the image
	Recipe string            // the text of the Containerfile
	Tag    string            // the image's name
	Labels map[string]string // keys as org.opencontainers.image.title
	Args   map[string]string // of the recipe
	// Time, if it is not zero, is when the image says that it was made, and the time of all files in Dir, whose
	// permissions lose what the umask made of them. So the same files make the same layers whenever and by whomever they
	// are built; the same image, if the engine is podman.
	Time time.Time
}

// buildLimit is what a build that nobody wants any more has to come to its end.
const buildLimit = 30 * time.Second

// Build makes an image out of what is on this machine. If ctx ends, it still goes on to its end if that is near: of one
// that is interrupted podman keeps what it has made so far, under a name that nobody knows.
func (e Engine) Build(ctx context.Context, b Build) error {
	recipe, err := os.CreateTemp("", "streamlatch-containerfile-")
	if err != nil {
		return err
	}
	defer os.Remove(recipe.Name())
	if _, err := recipe.WriteString(b.Recipe); err != nil {
		return err
	}
	if err := recipe.Close(); err != nil {
		return err
	}
	args := []string{"build", "--quiet", "--file", recipe.Name(), "--tag", b.Tag}
	args = append(args, pairs("--label", b.Labels)...)
	args = append(args, pairs("--build-arg", b.Args)...)
	if !b.Time.IsZero() {
		if err := settle(b.Dir, b.Time); err != nil {
			return err
		}
		if e.podman {
			// One layer, and no image for each step to it, which nobody would remove.
			args = append(args, "--layers=false", "--timestamp", strconv.FormatInt(b.Time.Unix(), 10))
		} else { // read by BuildKit; the classic builder has no such thing
			args = append(args, "--build-arg", "SOURCE_DATE_EPOCH="+strconv.FormatInt(b.Time.Unix(), 10))
		}
	}
	cmd := e.Command(ctx, append(args, b.Dir)...)
	cmd.SysProcAttr = ownGroup() // or a Ctrl-C would interrupt it
	cmd.Cancel = func() error { return nil }
	cmd.WaitDelay = buildLimit
	if _, err := answer(ctx, cmd); err != nil {
		return fmt.Errorf("build %s: %w", b.Tag, err)
	}
	return nil
}

// pairs returns flag key=value for each, in the order of the keys.
func pairs(flag string, values map[string]string) []string {
	var args []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		args = append(args, flag, key+"="+values[key])
	}
	return args
}

// settle gives all files in a directory one time, and the permissions that they would have without a umask.
func settle(dir string, t time.Time) error {
	return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if info.IsDir() || info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
		return os.Chtimes(path, t, t)
	})
}
