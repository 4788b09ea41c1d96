package container

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/script"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// The engine gets the recipe in a file, which is gone afterwards.
func TestBuild(t *testing.T) {
	seen := t.TempDir()
	machine(t, map[string]string{"docker": docker + `[ "$1" = build ] || exit 0
for word; do printf '%s\n' "$word"; done >` + seen + `/args
while read -r line; do printf '%s\n' "$line"; done <"$4" >` + seen + "/recipe\n"})
	engine, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	err = engine.Build(t.Context(), Build{Dir: dir, Recipe: "FROM scratch\nCOPY . /\n", Tag: "x:1",
		Args: map[string]string{"version": "1 2", "base": "y"}})
	if err != nil {
		t.Fatal(err)
	}
	args := lines(t, filepath.Join(seen, "args"))
	want := []string{"build", "--quiet", "--file", args[3], "--tag", "x:1", "--build-arg", "base=y", "--build-arg", "version=1 2", dir}
	if !slices.Equal(args, want) {
		t.Errorf("arguments\n got %q\nwant %q", args, want)
	}
	if got := contents(t, filepath.Join(seen, "recipe")); got != "FROM scratch\nCOPY . /\n" {
		t.Errorf("recipe %q", got)
	}
	if _, err := os.Stat(args[3]); !os.IsNotExist(err) {
		t.Errorf("the recipe's file is still there: %v", err)
	}
}

// The engine gets the archive in a file, which is gone afterwards.
func TestLoad(t *testing.T) {
	seen := t.TempDir()
	machine(t, map[string]string{"podman": podman + `[ "$1" = load ] || exit 0
for word; do printf '%s\n' "$word"; done >` + seen + `/args
read -r line <"$4"; printf '%s\n' "$line" >` + seen + "/archive\n"})
	engine, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Load(t.Context(), []byte("an image\n")); err != nil {
		t.Fatal(err)
	}
	args := lines(t, filepath.Join(seen, "args"))
	if want := []string{"load", "--quiet", "--input", args[3]}; !slices.Equal(args, want) {
		t.Errorf("arguments\n got %q\nwant %q", args, want)
	}
	if got := contents(t, filepath.Join(seen, "archive")); got != "an image\n" {
		t.Errorf("archive %q", got)
	}
	if _, err := os.Stat(args[3]); !os.IsNotExist(err) {
		t.Errorf("the archive's file is still there: %v", err)
	}
}

func TestLoadFails(t *testing.T) {
	machine(t, map[string]string{"docker": docker + `[ "$1" != load ] || { echo 'write /plugin.wasm: no space left on device' >&2; exit 1; }` + "\n"})
	engine, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = engine.Load(t.Context(), nil)
	if want := "load an image: write /plugin.wasm: no space left on device"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestBuildFails(t *testing.T) {
	machine(t, map[string]string{"podman": podman + `[ "$1" != build ] || { echo 'STEP 1/2: FROM nonsense' >&2; echo 'Error: creating build container: nonsense: image not known' >&2; exit 125; }` + "\n"})
	engine, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = engine.Build(t.Context(), Build{Dir: t.TempDir(), Recipe: "FROM nonsense\n", Tag: "x:1"})
	if want := "build x:1: creating build container: nonsense: image not known"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// An interrupted build would leave an image without a name. It runs to its end.
func TestBuildRunsToItsEnd(t *testing.T) {
	seen := t.TempDir()
	machine(t, map[string]string{"podman": podman + `[ "$1" = build ] || exit 0
trap 'exit 1' TERM INT
echo >` + seen + `/begun
while [ ! -e ` + seen + `/goOn ]; do sleep 0.01; done
echo >` + seen + "/ended\n"})
	engine, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- engine.Build(ctx, Build{Dir: t.TempDir(), Tag: "x:1"}) }()
	wait.Until(t, func() error { return script.Written(filepath.Join(seen, "begun")) })
	cancel()
	time.Sleep(100 * time.Millisecond) // an interrupted build would have ended by now
	if err := os.WriteFile(filepath.Join(seen, "goOn"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := wait.For(t, "its end", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if _, err := os.Stat(filepath.Join(seen, "ended")); err != nil {
		t.Errorf("the build has not run to its end: %v", err)
	}
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	return strings.Split(strings.TrimSpace(contents(t, path)), "\n")
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
