package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each error is one sentence. The container engine of these tests is a script that does nothing.
func TestErrors(t *testing.T) {
	path := t.TempDir()
	t.Setenv("CONTAINER_ENGINE", "")
	const podman = "#!/bin/sh\n[ $1 != --version ] || echo podman version 4.3.1\n"
	for _, test := range []struct {
		engine, args, want string
	}{
		{"", "", `unknown image "", want "plugin" or "envoy"`},
		{"", "plugin-in", `unknown image "plugin-in", want "plugin" or "envoy"`},
		{"", "plugin now", `unexpected argument "now"`},
		{"", "plugin", "found neither docker nor podman: install one of them (Debian: podman and runc), or name an engine in CONTAINER_ENGINE"},
		{"", "envoy", "found neither docker nor podman: install one of them (Debian: podman and runc), or name an engine in CONTAINER_ENGINE"},
		{podman, "plugin -wasm no/such.wasm", "there is no no/such.wasm: run `make build` first, in the root of the repository"},
		{podman, "plugin -wasm main.go -tag Streamlatch:1",
			`image "Streamlatch:1": want a name in lower case and a tag, such as registry.example/streamlatch:v1`},
		{podman + "[ $1 != load ] || { echo 'Error: no space left on device' >&2; exit 125; }\n", "plugin -wasm main.go -tag x:1",
			"load an image: no space left on device"},
	} {
		if test.engine != "" {
			if err := os.WriteFile(filepath.Join(path, "podman"), []byte(test.engine), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", path)
		if err := run(t.Context(), strings.Fields(test.args), io.Discard); err == nil || err.Error() != test.want {
			t.Errorf("image %s: got %v, want %s", test.args, err, test.want)
		}
	}
}

// An engine wants a tag in an image's name.
func TestName(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CONTAINER_ENGINE", "")
	t.Setenv("PATH", dir)
	if err := os.WriteFile(filepath.Join(dir, "podman"), []byte("#!/bin/sh\n[ $1 != --version ] || echo podman version 4.3.1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"plugin -wasm main.go -version v1":                         "streamlatch:v1",
		"plugin -wasm main.go -tag registry.example:5000/latch":    "registry.example:5000/latch:latest",
		"plugin -wasm main.go -tag registry.example:5000/latch:v2": "registry.example:5000/latch:v2",
	} {
		var out strings.Builder
		err := run(t.Context(), strings.Fields(args), &out)
		if err != nil || !strings.HasPrefix(out.String(), want+": plugin.wasm, ") || !strings.Contains(out.String(), "\n  COPY --from="+want+" /plugin.wasm ") {
			t.Errorf("image %s: printed %q, %v; want the name %s in both lines", args, out.String(), err, want)
		}
	}
}
