package etcd

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/script"
)

// fake returns the path of a program that prints this as the output of etcd --version, and
// otherwise exits with status 3.
func fake(t *testing.T, output string) string {
	t.Helper()
	return script.Write(t, filepath.Join(t.TempDir(), "etcd"), `test "$1" = --version || exit 3
echo "`+output+`"
`)
}

func TestFind(t *testing.T) {
	good := fake(t, "etcd Version: 3.4.23\nGit SHA: abc\nGo Version: go1.19")
	old := fake(t, "etcd Version: 3.3.25\nGit SHA: abc")
	other := fake(t, "not what you think")
	const set = "; set ETCD to the path of an etcd 3.4 or newer"
	for name, test := range map[string]struct{ variable, path, want, version, fault string }{
		"on PATH":     {"", filepath.Dir(good), good, "3.4.23", ""},
		"by ETCD":     {good, "", good, "3.4.23", ""},
		"a later one": {fake(t, "etcd Version: 4.0.0-rc.1"), "", "", "4.0.0-rc.1", ""},
		"nowhere":     {"", t.TempDir(), "", "", "found no etcd on PATH: install Debian's package etcd-server, or set ETCD to the path of an etcd 3.4 or newer"},
		"ETCD is wrong": {"/no/such/etcd", filepath.Dir(good), "", "",
			`cannot use the etcd "/no/such/etcd": no such file or directory` + set},
		"too old": {"", filepath.Dir(old), "", "",
			`cannot use the etcd "` + old + `": its version is 3.3.25, and a fleet needs 3.4 or newer` + set},
		"no etcd": {other, "", "", "",
			`cannot use the etcd "` + other + `": etcd --version printed "not what you think\n", want the version of an etcd` + set},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(Variable, test.variable)
			t.Setenv("PATH", test.path)
			path, version, err := Find(t.Context())
			if test.fault != "" {
				if err == nil || err.Error() != test.fault {
					t.Errorf("got  %v\nwant %s", err, test.fault)
				}
				return
			}
			if err != nil || version != test.version || test.want != "" && path != test.want {
				t.Errorf("got %q, %q, %v, want %q, %q", path, version, err, test.want, test.version)
			}
		})
	}
}

// An etcd that ends at its start leaves nothing behind.
func TestStartFails(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for path, want := range map[string]string{
		fake(t, ""):     "start etcd: etcd ended by itself: exit status 3",
		"/no/such/etcd": "start etcd: fork/exec /no/such/etcd: no such file or directory",
	} {
		if _, err := Start(t.Context(), path, 1, io.Discard); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	left, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range left {
		if strings.HasPrefix(file.Name(), "streamlatch-etcd-") {
			t.Errorf("%s is left", file.Name())
		}
	}
}
