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

// What an image is made of depends on neither who makes it nor when. Each engine has its own word for that.
func TestBuild(t *testing.T) {
	for name, test := range map[string]struct {
		version string
		want    []string
	}{
		"docker": {docker, []string{"build", "--quiet", "--file", "RECIPE", "--tag", "x:1", "--label", "a=1", "--label", "b=2 3",
			"--build-arg", "base=y", "--build-arg", "SOURCE_DATE_EPOCH=1000000000", "DIR"}},
		"podman": {podman, []string{"build", "--quiet", "--file", "RECIPE", "--tag", "x:1", "--label", "a=1", "--label", "b=2 3",
			"--build-arg", "base=y", "--layers=false", "--timestamp", "1000000000", "DIR"}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := t.TempDir()
			machine(t, map[string]string{name: test.version + `[ "$1" = build ] || exit 0
for word; do printf '%s\n' "$word"; done >` + seen + `/args
while read -r line; do printf '%s\n' "$line"; done <"$4" >` + seen + "/recipe\n"})
			engine, err := Find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "plugin.wasm")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			at := time.Unix(1_000_000_000, 0)
			err = engine.Build(t.Context(), Build{Dir: dir, Recipe: "FROM scratch\nCOPY . /\n", Tag: "x:1", Time: at,
				Labels: map[string]string{"b": "2 3", "a": "1"}, Args: map[string]string{"base": "y"}})
			if err != nil {
				t.Fatal(err)
			}
			args := strings.Split(strings.TrimSpace(contents(t, filepath.Join(seen, "args"))), "\n")
			recipe := args[4-1]
			args[4-1], args[len(args)-1] = "RECIPE", strings.Replace(args[len(args)-1], dir, "DIR", 1)
			if !slices.Equal(args, test.want) {
				t.Errorf("arguments\n got %q\nwant %q", args, test.want)
			}
			if got := contents(t, filepath.Join(seen, "recipe")); got != "FROM scratch\nCOPY . /\n" {
				t.Errorf("the recipe: %q", got)
			}
			if _, err := os.Stat(recipe); !os.IsNotExist(err) {
				t.Errorf("the recipe's file is left: %v", err)
			}
			info, err := os.Stat(file)
			if err != nil || info.Mode() != 0o644 || !info.ModTime().Equal(at) {
				t.Errorf("the file: %v, %v, %v; want mode 0644 and %v", info.Mode(), info.ModTime(), err, at)
			}
		})
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

// A build that is interrupted leaves what nobody finds again. So it is not.
func TestBuildGoesOnToItsEnd(t *testing.T) {
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
	time.Sleep(100 * time.Millisecond) // an interrupted one has ended by then
	if err := os.WriteFile(filepath.Join(seen, "goOn"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := wait.For(t, "its end", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if _, err := os.Stat(filepath.Join(seen, "ended")); err != nil {
		t.Errorf("it has not come to its end: %v", err)
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
