package release

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	headID  = "dc1945df24d6ac43921843b30f5340541ca5c775"
	otherID = "93942ed2a824373234e8a1e83cb759ff421a5252"
)

// repository puts a script before the real git on PATH. The arguments are shell commands that
// answer git log, git status and git for-each-ref.
func repository(t *testing.T, log, status, tag string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncase $3 in\nlog) " + log + ";;\nstatus) " + status + ";;\nfor-each-ref) " + tag + ";;\n*) exit 9;;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, "git"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

const head = "echo " + headID + " 1795871530"

func TestCheck(t *testing.T) {
	const noRepository = "echo 'fatal: not a git repository (or any of the parent directories): .git' >&2; echo more >&2; exit 128"
	for name, test := range map[string]struct{ log, status, tag, want string }{
		"clean":                 {head, ":", ":", ""},
		"tagged":                {head, ":", "echo " + headID, ""},
		"tagged elsewhere":      {head, ":", "echo " + otherID, "tag v1.2.3 is commit 93942ed2a824, and commit dc1945df24d6 is checked out: check out the tag, or choose another version"},
		"changed":               {head, `printf ' M a b.go\n'`, ":", "these files differ from commit dc1945df24d6: a b.go: commit or stash the changes first"},
		"changed in many ways":  {head, `printf ' M a.go\nMM b.go\n?? c/\nR  d -> e\nD  f\n'`, ":", "these files differ from commit dc1945df24d6: a.go, b.go, c/ and 2 more: commit or stash the changes first"},
		"changed and elsewhere": {head, `printf '?? x\n'`, "echo " + otherID, "these files differ from commit dc1945df24d6: x: commit or stash the changes first\ntag v1.2.3 is commit 93942ed2a824, and commit dc1945df24d6 is checked out: check out the tag, or choose another version"},
		"no repository":         {noRepository, ":", ":", "a release needs a commit: git log: not a git repository (or any of the parent directories): .git"},
		"no time":               {"echo " + headID, ":", ":", "a release needs a commit: git log: time of commit " + headID + `: strconv.ParseInt: parsing "": invalid syntax`},
		"git fails later":       {head, "exit 3", ":", "git status: exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			repository(t, test.log, test.status, test.tag)
			commit, err := Check(t.Context(), ".", "v1.2.3")
			if test.want == "" {
				if err != nil || commit.ID != headID || !commit.Time.Equal(time.Unix(1795871530, 0)) {
					t.Errorf("got %v, %v; want commit %s", commit, err, headID)
				}
			} else if err == nil || err.Error() != test.want {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	repository(t, head, ":", ":")
	for version, valid := range map[string]bool{
		"v1.2.3": true, "v0.0.0": true, "v10.20.30": true, "v1.2.3-rc.1": true, "v1.2.3-0.x-y.7": true,
		"": false, "1.2.3": false, "v1.2": false, "v1": false, "v01.2.3": false, "v1.2.3-": false, "v1.2.3-rc..1": false,
		"v1.2.3-01": false, "v1.2.3+build": false, "v1.2.3 ": false, "v1.2.3\n": false, "dc1945d": false, "v1.2.3'; ls": false,
	} {
		_, err := Check(t.Context(), ".", version)
		if valid && err != nil {
			t.Errorf("%q: %v", version, err)
		}
		if want := " want a semantic version with a v, such as v1.2.3 or v1.2.3-rc.1: make release VERSION=v1.2.3"; !valid &&
			(err == nil || !strings.HasPrefix(err.Error(), "VERSION is \"") || !strings.HasSuffix(err.Error(), want)) {
			t.Errorf("%q: got %v, want an error that ends in %q", version, err, want)
		}
	}
}

// After Make the directory has the files of the release and nothing else. The licences are those of
// the real filter.
func TestMake(t *testing.T) {
	repository(t, head, ":", ":")
	root, dir := filepath.Join("..", ".."), filepath.Join(t.TempDir(), "build", "release")
	wasm := filepath.Join(t.TempDir(), "built.wasm")
	write(t, dir, map[string]string{"streamlatch-old.wasm": "of the release before"})
	if err := Make(t.Context(), root, "v1.2.3", wasm, dir); err == nil || err.Error() != "there is no "+wasm+": run `make release VERSION=v1.2.3`, which builds it" {
		t.Errorf("without a module: %v", err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"streamlatch-old.wasm"}) {
		t.Errorf("after an error the directory has %q, want what it had", got)
	}
	if err := os.WriteFile(wasm, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Make(t.Context(), root, "v1.2.3", wasm, dir); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), []string{LicensesFile, Plugin, Module, Checksum}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if got := names(t, filepath.Dir(dir)); !slices.Equal(got, []string{"release"}) {
		t.Errorf("beside it is %q, want nothing", got)
	}
	const sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, appendix B.1
	for name, want := range map[string]string{Module: "abc", Checksum: sum + "  streamlatch.wasm\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	plugin, err := os.ReadFile(filepath.Join(dir, Plugin))
	if err != nil {
		t.Fatal(err)
	}
	want := Image{Name: "streamlatch:v1.2.3", Wasm: []byte("abc"), Version: "v1.2.3", Commit: Commit{headID, time.Unix(1795871530, 0)}}
	if archive, err := want.Archive(); err != nil || !bytes.Equal(plugin, archive) {
		t.Errorf("%s is not %+v, %v", Plugin, want, err)
	}
	licenses, err := os.ReadFile(filepath.Join(dir, LicensesFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"\ngithub.com/streamlatch/streamlatch v1.2.3: LICENSE\n", "\ngithub.com/dchest/siphash v", "\ngithub.com/go-json-experiment/json v"} {
		if !bytes.Contains(licenses, []byte(part)) {
			t.Errorf("%s does not have %q", LicensesFile, part)
		}
	}
	for _, module := range []string{"wazero", "datadriven", "rapid"} {
		if bytes.Contains(licenses, []byte("/"+module+" v")) {
			t.Errorf("%s has %s, which only tests import", LicensesFile, module)
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
