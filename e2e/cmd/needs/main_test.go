package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/script"
	"github.com/streamlatch/streamlatch/envoy/container"
)

// Each need has a line, found or not, and the missing ones say how to get them.
func TestLook(t *testing.T) {
	path := t.TempDir()
	t.Setenv("PATH", path)
	t.Setenv(container.Variable, "")
	t.Setenv("ETCD", "")
	lines := func() (missing int, lines []string) {
		var out strings.Builder
		missing = look(t.Context(), &out)
		lines = strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(needs) {
			t.Fatalf("%d lines, want %d:\n%s", len(lines), len(needs), out.String())
		}
		return missing, lines
	}

	missing, all := lines()
	if missing != len(needs) {
		t.Errorf("on an empty PATH %d are missing, want all %d", missing, len(needs))
	}
	for i, line := range all {
		if !strings.HasPrefix(line, needs[i].name) || !strings.Contains(line, " missing: ") || !strings.HasSuffix(line, needs[i].get) {
			t.Errorf("%q: want the name, and how to get it", line)
		}
	}

	programs := "prometheus promtool etcd etcdctl chromium npm python3 javac mvn docker-compose git"
	for name := range strings.FieldsSeq(programs) {
		script.Write(t, filepath.Join(path, name), "")
	}
	node := func(version string) { script.Write(t, filepath.Join(path, "node"), "echo "+version+"\n") }
	node("v20.0.1")
	podman := script.Write(t, filepath.Join(path, "podman"), "[ $1 != --version ] || echo podman version 4.3.1\n")
	missing, all = lines()
	if missing != 0 {
		t.Errorf("%d are missing, want none:\n%s", missing, strings.Join(all, "\n"))
	}
	for _, line := range all {
		if !strings.Contains(line, " "+path+"/") {
			t.Errorf("%q does not say where it was found", line)
		}
	}
	if !strings.HasSuffix(all[5], "/node v20.0.1") {
		t.Errorf("%q: want Node.js and its version", all[5])
	}
	if !strings.HasSuffix(all[10], " "+podman) {
		t.Errorf("%q: want the engine %s", all[10], podman)
	}

	for _, old := range []string{"v18.20.4", "v9.0.0", "nonsense"} {
		node(old)
		if missing, all = lines(); missing != 1 || !strings.Contains(all[5], " missing: ") || !strings.Contains(all[5], old) {
			t.Errorf("with Node.js %s %d are missing, want only Node.js:\n%s", old, missing, strings.Join(all, "\n"))
		}
	}
}
