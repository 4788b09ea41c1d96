package container

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/script"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// The engines of these tests are scripts. Their complaints are those of real engines.
const (
	docker = `[ "$1" != --version ] || echo 'Docker version 28.2.2, build e6534b4'` + "\n"
	podman = `[ "$1" != --version ] || echo 'podman version 4.3.1'` + "\n"

	withoutDaemon = `[ "$1" = --version ] || { echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2; exit 1; }` + "\n"
	forbidden     = `[ "$1" = --version ] || { echo 'permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/containers/json": dial unix /var/run/docker.sock: connect: permission denied' >&2; exit 1; }` + "\n"
	broken        = `[ "$1" = --version ] || { echo 'time="2026-11-25T20:00:00Z" level=warning msg="a warning before it"' >&2; echo 'Error: the graph driver is confused' >&2; exit 125; }` + "\n"
)

func TestMain(m *testing.M) { os.Exit(script.Main(m)) }

// machine sets PATH to a directory that contains only these engines and the tools that they need.
func machine(t *testing.T, engines map[string]string) (path string) {
	t.Helper()
	path = t.TempDir()
	for name, text := range engines {
		script.Write(t, filepath.Join(path, name), text)
	}
	script.Tools(t, path)
	t.Setenv("PATH", path)
	t.Setenv(Variable, "")
	return path
}

func TestFind(t *testing.T) {
	for name, test := range map[string]struct {
		engines  map[string]string
		variable string
		want     string
	}{
		"docker first":                         {map[string]string{"docker": docker, "podman": podman}, "", "docker"},
		"podman alone":                         {map[string]string{"podman": podman}, "", "podman"},
		"podman, if docker has no daemon":      {map[string]string{"docker": docker + withoutDaemon, "podman": podman}, "", "podman"},
		"podman, if docker is for others only": {map[string]string{"docker": docker + forbidden, "podman": podman}, "", "podman"},
		"the engine that is named":             {map[string]string{"docker": docker, "podman": podman}, "podman", "podman"},
		"an engine of another name":            {map[string]string{"docker": docker, "nerdctl": docker}, "nerdctl", "nerdctl"},
		"a docker that is podman":              {map[string]string{"docker": podman}, "", "docker"},
	} {
		t.Run(name, func(t *testing.T) {
			path := machine(t, test.engines)
			t.Setenv(Variable, test.variable)
			e, err := Find(t.Context())
			if err != nil || e.String() != filepath.Join(path, test.want) {
				t.Errorf("got %q, %v; want %s", e, err, test.want)
			}
		})
	}
}

// Every error is one sentence that says what the user can do.
func TestFindErrors(t *testing.T) {
	for name, test := range map[string]struct {
		engines  map[string]string
		variable string
		want     string
	}{
		"neither": {nil, "",
			"found neither docker nor podman: install one of them (Debian: podman and runc), or name an engine in CONTAINER_ENGINE"},
		"docker without a daemon, and no podman": {map[string]string{"docker": docker + withoutDaemon}, "",
			"docker cannot be used: its daemon does not answer: start it; podman is not on PATH"},
		"docker without a daemon, and a podman that fails": {map[string]string{"docker": docker + withoutDaemon, "podman": podman + broken}, "",
			"docker cannot be used: its daemon does not answer: start it; podman cannot be used: the graph driver is confused"},
		"docker that this user may not use": {map[string]string{"docker": docker + forbidden}, "",
			"docker cannot be used: this user may not use it: join its group (docker: the group docker), or use rootless podman; podman is not on PATH"},
		"the path of nothing": {map[string]string{"podman": podman}, "/no/such/engine",
			`CONTAINER_ENGINE is "/no/such/engine", which cannot be used: no such file or directory`},
		"the name of a program that is not on PATH": {map[string]string{"podman": podman}, "containerd",
			`CONTAINER_ENGINE is "containerd", which cannot be used: executable file not found in $PATH`},
		"the name of another program": {map[string]string{"true": "echo 'true (GNU coreutils) 9.1'\n"}, "true",
			`CONTAINER_ENGINE is "true", which cannot be used: --version prints "true (GNU coreutils) 9.1", want the version of a container engine`},
		"the name of an engine without a daemon": {map[string]string{"docker": docker + withoutDaemon, "podman": podman}, "docker",
			`CONTAINER_ENGINE is "docker", which cannot be used: its daemon does not answer: start it`},
	} {
		t.Run(name, func(t *testing.T) {
			machine(t, test.engines)
			t.Setenv(Variable, test.variable)
			if e, err := Find(t.Context()); err == nil || err.Error() != test.want {
				t.Errorf("got %q, %v\nwant %s", e, err, test.want)
			}
		})
	}
}

// When the context ends, Find neither waits for an engine that does not answer nor tries another.
func TestFindGivesUp(t *testing.T) {
	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	machine(t, map[string]string{
		"docker": docker + `[ "$1" = --version ] || { echo >` + asked + `; exec sleep 300; }` + "\n",
		"podman": podman,
	})
	withdrawn := errors.New("withdrawn")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	found := make(chan error, 1)
	go func() {
		_, err := Find(ctx)
		found <- err
	}()
	wait.Until(t, func() error { return script.Written(asked) })
	cancel(withdrawn)
	if err := wait.For(t, "the answer", found); !errors.Is(err, withdrawn) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want %v", err, withdrawn)
	}
}

// An engine that ignores SIGTERM is killed.
func TestOutputKills(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "asked")
	path := machine(t, map[string]string{"docker": `trap '' TERM; echo >` + asked + `; while :; do sleep 0.1; done` + "\n"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := Engine{path: filepath.Join(path, "docker")}.Output(ctx, "build")
		ended <- err
	}()
	wait.Until(t, func() error { return script.Written(asked) })
	cancel()
	if err := wait.For(t, "its end", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestComplaint(t *testing.T) {
	for stderr, want := range map[string]string{
		"": "",
		"Error: short-name \"nonsense\" did not resolve to an alias\n":                                        `short-name "nonsense" did not resolve to an alias`,
		"Trying to pull docker.io/x...\nError: initializing source: no such host\n":                           "initializing source: no such host",
		"docker: Error response from daemon: no such image\n\nRun 'docker run --help' for more information\n": "no such image",
		"docker: invalid reference format.\nSee 'docker run --help'.\n":                                       "invalid reference format.",
		"#4 ERROR: something on the way\n------\nERROR: failed to solve: process did not complete\n":          "failed to solve: process did not complete",
	} {
		if got := Complaint(stderr); got != want {
			t.Errorf("%q: got %q, want %q", stderr, got, want)
		}
	}
}
