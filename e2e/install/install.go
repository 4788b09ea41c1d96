// Package install makes packages of npm, PyPI or Maven ready for tests, at pinned versions.
package install

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// Packages are what the programs in one folder need.
type Packages struct {
	Folder  string   // below e2e
	Pins    []string // its files that name the exact versions
	Command []string // run in a folder with the pins
}

// tests may want the same packages at the same time.
var installing sync.Mutex

// Ready returns a folder in build with the packages. What was installed there stays, for the next
// run with the same versions.
func (p Packages) Ready(t testing.TB) (dir string) {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	hash := sha256.New()
	for _, pin := range p.Pins {
		hash.Write(read(t, p.source(t, pin)))
	}
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(root, "build", fmt.Sprintf("%s-%x", p.Folder, hash.Sum(nil)[:6]))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir
	}
	half := dir + ".new" // until it is whole
	if err := errors.Join(os.RemoveAll(half), os.MkdirAll(half, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, pin := range p.Pins {
		p.Copy(t, half, pin)
	}
	cmd := exec.CommandContext(t.Context(), p.Command[0], p.Command[1:]...)
	cmd.Dir = half
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(p.Command, " "), err, out)
	}
	if err := os.Rename(half, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Copy copies a file of the folder into dir, which Ready has returned.
func (p Packages) Copy(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), read(t, p.source(t, name)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// source returns the path of a file in the folder.
func (p Packages) source(t testing.TB, name string) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "e2e", p.Folder, name)
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
