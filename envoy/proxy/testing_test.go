package proxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/script"
)

func TestMain(m *testing.M) { os.Exit(script.Main(m)) }

// withTools sets PATH to a directory that contains only the tools of package script.
func withTools(t *testing.T) {
	dir := t.TempDir()
	script.Tools(t, dir)
	t.Setenv("PATH", dir)
}

// neverReady returns an Envoy that starts and does nothing, and a function that returns its PID.
func neverReady(t *testing.T) (path string, pid func() string) {
	withTools(t)
	file := filepath.Join(t.TempDir(), "pid")
	path = script.Write(t, filepath.Join(t.TempDir(), "envoy"), "echo $$ >"+file+"; exec sleep 300\n")
	return path, func() string { return contents(t, file) }
}

// ignoringSIGTERM returns an Envoy that ignores SIGTERM, and a function that returns its PID. It
// seems to serve, because it writes the address of admin to the file that Start reads. The name of
// that file is its fourth argument.
func ignoringSIGTERM(t *testing.T, admin *Admin) (path string, pid func() string) {
	withTools(t)
	file := filepath.Join(t.TempDir(), "pid")
	path = script.Write(t, filepath.Join(t.TempDir(), "envoy"), "trap '' TERM; echo $$ >"+file+`
printf %s `+strings.TrimPrefix(admin.URL, "http://")+` >"$4"
while :; do sleep 0.05; done
`)
	return path, func() string { return contents(t, file) }
}

// assertGone checks that a process has ended and that its parent has waited for it: then, on Linux,
// it has no directory in /proc.
func assertGone(t *testing.T, pid string) {
	t.Helper()
	if _, err := os.Stat("/proc/" + pid); err == nil {
		t.Errorf("process %s is still there", pid)
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
