package proxy

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// repository is the root of the repository.
const repository = "../.."

// plain is a configuration without the filter: Envoy starts much faster.
const plain = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: plain
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: plain
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config: {"@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 204}}]}
`

// realEnvoy returns the Envoy that the tests of this package run.
func realEnvoy(t *testing.T) string {
	t.Helper()
	path, err := findOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var findOnce = sync.OnceValues(func() (string, error) {
	return Find(context.Background(), filepath.Join(repository, "build"))
})

// start starts a real Envoy and stops it at the end of the test.
func start(t *testing.T, o Options) *Process {
	t.Helper()
	p, err := Start(t.Context(), Binary(realEnvoy(t)), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	return p
}

// neverReady returns an Envoy that starts and does nothing, and a function that returns its PID.
func neverReady(t *testing.T) (path string, pid func() string) {
	file := filepath.Join(t.TempDir(), "pid")
	path = script(t, filepath.Join(t.TempDir(), "envoy"), "echo $$ >"+file+"; exec sleep 60\n")
	return path, func() string { return contents(t, file) }
}

// ignoringSIGTERM returns an Envoy that ignores SIGTERM, and a function that returns its PID. It
// seems to serve, because it writes the address of another Envoy's admin interface to the file that
// Start reads. The name of that file is its fourth argument.
func ignoringSIGTERM(t *testing.T, admin *Admin) (path string, pid func() string) {
	file := filepath.Join(t.TempDir(), "pid")
	path = script(t, filepath.Join(t.TempDir(), "envoy"), "trap '' TERM; echo $$ >"+file+`
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

// within waits for a channel, at most 20 seconds.
func within[T any](t *testing.T, what string, c <-chan T) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: nothing after 20 seconds", what)
	}
}

// temporaryFiles gives the test an empty directory for temporary files, and returns a function that
// lists it.
func temporaryFiles(t *testing.T) func() []string {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return func() []string { return entries(t, dir) }
}

// script writes a shell script and returns its path.
func script(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// entries returns the names in a directory.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// synced is a buffer that is safe for concurrent use.
type synced struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *synced) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
