package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// world is a main module whose filter imports two other modules. The package of module a is a copy
// from elsewhere.
var world = map[string]string{
	"main/go.mod": "module example.org/main\n\ngo 1.26\n\nrequire (\n\texample.org/b v1.0.0\n\texample.org/a v0.2.0\n\texample.org/unused v1.0.0\n)\n\n" +
		"replace (\n\texample.org/a => ../a\n\texample.org/b => ../b\n\texample.org/unused => ../unused\n)\n",
	"main/LICENSE":               "Main's licence\n",
	"main/filter/main.go":        "package main\n\nimport (\n\t_ \"example.org/a/copied\"\n\t_ \"example.org/b\"\n)\n\nfunc main() {}\n",
	"a/go.mod":                   "module example.org/a\n\ngo 1.26\n",
	"a/COPYING.txt":              "\n  A's licence,\r\nin two lines\n\n",
	"a/NOTICE":                   "A's notice\n",
	"a/license.go":               "package a\n",
	"a/copied/LICENCE-MIT":       "The licence of what A has copied\n",
	"a/copied/copied.go":         "package copied\n",
	"a/elsewhere/LICENSE":        "The licence of what is not compiled in\n",
	"b/go.mod":                   "module example.org/b\n\ngo 1.26\n",
	"b/LICENSE":                  "B's licence\n",
	"b/native.go":                "package b\n",
	"unused/go.mod":              "module example.org/unused\n\ngo 1.26\n",
	"unused/unused.go":           "package unused\n",
	"main/filter/native_test.go": "package main\n\nimport _ \"example.org/unused\"\n",
	"main/filter/native.go":      "//go:build !wasip1\n\npackage main\n\nimport _ \"example.org/unused\"\n",
}

func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The text has the licence of a single package, and not the licence of a module that only tests or
// other platforms import.
func TestLicenses(t *testing.T) {
	t.Setenv("GOFLAGS", "-mod=mod")
	root := t.TempDir()
	write(t, root, world)
	text, err := Licenses(t.Context(), filepath.Join(root, "main"), "./filter", "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("=", 80)
	before, after, _ := strings.Cut(text, "\n  Go, its standard library and runtime, go1.")
	if want := "Licences of what is compiled into streamlatch.wasm v1.2.3:\n\n  example.org/main v1.2.3"; before != want {
		t.Errorf("it begins\n%s\nwant\n%s", before, want)
	}
	_, after, _ = strings.Cut(after, "\n")
	main := "\n" + line + "\nexample.org/main v1.2.3: LICENSE\n\nMain's licence\n"
	if want := "  example.org/a v0.2.0\n  example.org/b v1.0.0\n" + main + "\n" + line + "\nGo, its standard library and runtime, go1."; !strings.HasPrefix(after, want) {
		t.Errorf("it goes on\n%.400s\nwant\n%s", after, want)
	}
	if !strings.Contains(after, "Copyright 2009 The Go Authors.") {
		t.Error("Go's licence is missing")
	}
	want := "\n" + line + "\nexample.org/a v0.2.0: COPYING.txt\n\n  A's licence,\nin two lines\n" +
		"\n" + line + "\nexample.org/a v0.2.0: NOTICE\n\nA's notice\n" +
		"\n" + line + "\nexample.org/a v0.2.0: copied/LICENCE-MIT\n\nThe licence of what A has copied\n" +
		"\n" + line + "\nexample.org/b v1.0.0: LICENSE\n\nB's licence\n"
	if !strings.HasSuffix(text, want) {
		t.Errorf("it ends\n%s\nwant\n%s", text[max(0, len(text)-len(want)):], want)
	}
}

func TestLicensesErrors(t *testing.T) {
	t.Setenv("GOFLAGS", "-mod=mod")
	for name, test := range map[string]struct {
		remove string
		add    map[string]string
		want   string
	}{
		"no file": {"b/LICENSE", nil,
			"example.org/b v1.0.0 is compiled into the filter and has no licence file in ROOT/b: want LICENSE, LICENCE or COPYING"},
		"a notice alone": {"a/COPYING.txt", nil,
			"example.org/a v0.2.0 is compiled into the filter and has no licence file in ROOT/a: want LICENSE, LICENCE or COPYING"},
		"a directory of that name": {"b/LICENSE", map[string]string{"b/LICENSE/mit": "B's licence"},
			"example.org/b v1.0.0 is compiled into the filter and has no licence file in ROOT/b: want LICENSE, LICENCE or COPYING"},
		"none of our own": {"main/LICENSE", nil,
			"example.org/main v1.2.3 is compiled into the filter and has no licence file in ROOT/main: want LICENSE, LICENCE or COPYING"},
		"a package that is missing": {"a/copied/copied.go", nil, "go list: "},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, world)
			if err := os.Remove(filepath.Join(root, test.remove)); err != nil {
				t.Fatal(err)
			}
			write(t, root, test.add)
			_, err := Licenses(t.Context(), filepath.Join(root, "main"), "./filter", "v1.2.3")
			want := strings.ReplaceAll(test.want, "ROOT", root)
			if err == nil || err.Error() != want && !(strings.HasSuffix(want, ": ") && strings.HasPrefix(err.Error(), want)) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// A vendor directory lacks files of its modules, so their licences are unknown.
func TestLicensesOfVendor(t *testing.T) {
	root := t.TempDir()
	write(t, root, world)
	main := filepath.Join(root, "main")
	if _, err := goCommand(t.Context(), main, "mod", "vendor"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFLAGS", "-mod=vendor")
	_, err := Licenses(t.Context(), main, "./filter", "v1.2.3")
	if want := "example.org/a v0.2.0: its source is not on this machine, so its licence is unknown: run `go mod download`, and build without vendor"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
