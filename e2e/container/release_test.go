//go:build container

package container

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy"
)

// `make release` makes the same bytes in two checkouts of a commit. sha256sum accepts the checksum.
// The engine loads the image, and the filter in it is the released file. Envoy runs that file,
// which reports the released version.
func TestRelease(t *testing.T) {
	const version = "v1.2.3-test.1"
	work := t.TempDir()
	commitTree(t, work)
	if output, err := makeRelease(t, work, ""); err == nil || !strings.Contains(output, `release: VERSION is "", want a semantic version`) {
		t.Errorf("without a version: %v, %s", err, output)
	}
	stray := filepath.Join(work, "filter", "stray.go")
	if err := os.WriteFile(stray, []byte("package main\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if output, err := makeRelease(t, work, version); err == nil || !strings.Contains(output, ": filter/stray.go: commit or stash the changes first") {
		t.Errorf("with a file that is not committed: %v, %s", err, output)
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	if output, err := makeRelease(t, work, version); err != nil {
		t.Fatalf("make release: %v\n%s", err, output)
	}
	files := released(t, work)

	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	gitIn(t, work, "tag", "--annotate", "--message", "a release", version)
	gitIn(t, work, "clone", "--quiet", work, elsewhere)
	if output, err := makeRelease(t, elsewhere, version); err != nil {
		t.Fatalf("make release in a clone: %v\n%s", err, output)
	}
	if again := released(t, elsewhere); !maps.EqualFunc(files, again, bytes.Equal) {
		t.Errorf("a clone makes other files: %s; the first %s", sizes(again), sizes(files))
	}
	gitIn(t, work, "commit", "--quiet", "--allow-empty", "--message", "the next commit")
	if output, err := makeRelease(t, work, version); err == nil || !strings.Contains(output, "release: tag "+version+" is commit ") {
		t.Errorf("one commit after the tag: %v, %s", err, output)
	}

	sum := exec.CommandContext(t.Context(), "sha256sum", "-c", "streamlatch.wasm.sha256")
	sum.Dir = filepath.Join(elsewhere, "build", "release")
	if output, err := sum.CombinedOutput(); err != nil || string(output) != "streamlatch.wasm: OK\n" {
		t.Errorf("sha256sum -c: %v, %s", err, output)
	}

	tag := "streamlatch:" + version
	t.Cleanup(func() { engine.Output(context.Background(), "rmi", tag) }) // the test's context has ended then
	call(t, "load", "--input", filepath.Join(elsewhere, "build", "release", "streamlatch-plugin.oci.tar"))
	image := saved(t, tag)
	header, wasm := only(t, image)
	if header.Name != "plugin.wasm" || header.Typeflag != tar.TypeReg || !bytes.Equal(wasm, files["streamlatch.wasm"]) {
		t.Errorf("the image has %s, %d bytes; want plugin.wasm, and in it the released %d bytes", header.Name, len(wasm), len(files["streamlatch.wasm"]))
	}
	for key, want := range map[string]string{"version": version, "revision": gitIn(t, elsewhere, "rev-parse", "HEAD")} {
		if got := image.Config.Config.Labels["org.opencontainers.image."+key]; got != want {
			t.Errorf("the image's %s is %q, want %q", key, got, want)
		}
	}
	r := start(t, rig.Options{Launcher: envoyImage, LogLevel: "wasm:info", Base: envoy.Render, Module: func() ([]byte, error) { return wasm, nil }})
	wantVersion(t, r, version)
	wantTakeover(t, r)
}

// commitTree makes dir a repository with one commit: the working tree of this repository.
func commitTree(t *testing.T, dir string) {
	t.Helper()
	for _, name := range strings.Split(git(t, "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		if name == "" || errors.Is(err, fs.ErrNotExist) { // removed, and that is not committed yet
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	gitIn(t, dir, "init", "--quiet")
	gitIn(t, dir, "add", "--all")
	gitIn(t, dir, "commit", "--quiet", "--message", "what is released")
}

func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=test", "-c", "user.email=test@localhost"}, args...)...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return strings.TrimSpace(string(output))
}

// makeRelease returns what make prints.
func makeRelease(t *testing.T, dir, version string) (string, error) {
	t.Helper()
	args := []string{"--no-print-directory", "release"}
	if version != "" {
		args = append(args, "VERSION="+version)
	}
	cmd := exec.CommandContext(t.Context(), "make", args...)
	cmd.Dir = dir
	cmd.Env = withoutMake(os.Environ())
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// released returns what is in build/release.
func released(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range []string{"streamlatch.wasm", "streamlatch.wasm.sha256", "streamlatch-plugin.oci.tar", "THIRD_PARTY_LICENSES"} {
		content, err := os.ReadFile(filepath.Join(dir, "build", "release", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = content
	}
	return files
}

func sizes(files map[string][]byte) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, fmt.Sprintf("%s %d bytes", name, len(files[name])))
	}
	return strings.Join(list, ", ")
}
