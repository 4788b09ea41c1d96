package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What cannot be made is said in a sentence. The engine of these tests is a script that can do nothing.
func TestErrors(t *testing.T) {
	path := t.TempDir()
	t.Setenv("CONTAINER_ENGINE", "")
	const podman = "#!/bin/sh\n[ $1 != --version ] || echo podman version 4.3.1\n"
	for _, test := range []struct {
		engine, args, want string
	}{
		{"", "", `"" is no image that is made here: want plugin or envoy`},
		{"", "plugin-in", `"plugin-in" is no image that is made here: want plugin or envoy`},
		{"", "plugin now", `unexpected argument "now"`},
		{"", "plugin", "found neither docker nor podman: install one of them (Debian: podman and runc), or name an engine in CONTAINER_ENGINE"},
		{"", "envoy", "found neither docker nor podman: install one of them (Debian: podman and runc), or name an engine in CONTAINER_ENGINE"},
		{podman, "plugin -wasm no/such.wasm", "there is no no/such.wasm: run `make build` first, in the root of the repository"},
		{podman + "[ $1 != build ] || { echo 'Error: no space left on device' >&2; exit 125; }\n", "plugin -wasm main.go -tag x:1",
			"build x:1: no space left on device"},
	} {
		if test.engine != "" {
			if err := os.WriteFile(filepath.Join(path, "podman"), []byte(test.engine), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", path)
		if err := run(t.Context(), strings.Fields(test.args)); err == nil || err.Error() != test.want {
			t.Errorf("image %s: got %v, want %s", test.args, err, test.want)
		}
	}
}
