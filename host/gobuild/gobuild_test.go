package gobuild_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host/gobuild"
)

// guest writes a Go module with a main package into dir.
func guest(t *testing.T, dir, source string) {
	t.Helper()
	for name, text := range map[string]string{"go.mod": "module guest\n\ngo 1.26.0\n", "main.go": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const versioned = "package main\n\nvar version = \"none\"\n\nfunc main() { println(version) }\n"

// One source gives the same bytes wherever it lies, and ldflags reach the linker.
func TestBuildIsReproducible(t *testing.T) {
	var built [2][]byte
	for i := range built {
		dir := t.TempDir()
		guest(t, dir, versioned)
		t.Chdir(dir)
		var err error
		if built[i], err = gobuild.Build(t.Context(), ".", "-X main.version=v1.2.3-test"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Error("two directories gave different modules")
	}
	if !bytes.HasPrefix(built[0], []byte("\x00asm\x01\x00\x00\x00")) {
		t.Errorf("not a WebAssembly module: %x", built[0][:8])
	}
	if !bytes.Contains(built[0], []byte("v1.2.3-test")) {
		t.Error("the version given to the linker is not in the module")
	}
}

func TestBuildErrorHasTheCompilersWords(t *testing.T) {
	dir := t.TempDir()
	guest(t, dir, "package main\n\nfunc main() { undefinedName() }\n")
	t.Chdir(dir)
	_, err := gobuild.Build(t.Context(), ".", "")
	if err == nil || !strings.Contains(err.Error(), "undefined: undefinedName") || !strings.Contains(err.Error(), "build . for wasip1") {
		t.Errorf("error %v, want one that names the package and what the compiler said", err)
	}
}
