//go:build sdks

package sdks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/install"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// A runtime runs programs that use packages of one registry.
type runtime struct {
	install.Packages
	run   []string
	env   string // added to the environment
	build bool   // the program is built from the folder, and its name is its first argument
}

var (
	npm = runtime{run: []string{"node"}, Packages: install.Packages{Folder: "sdks/npm", Pins: []string{"package.json", "package-lock.json"},
		Command: []string{"npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"}}}
	python1   = python("mcp1.txt")
	python2   = python("mcp2.txt")
	pythonLLM = python("llm.txt")
	golang    = runtime{Packages: install.Packages{Folder: "sdks/golang"}, build: true}
)

func python(pins string) runtime {
	return runtime{run: []string{"python3"}, env: "PYTHONPATH=packages", Packages: install.Packages{Folder: "sdks/python", Pins: []string{pins},
		Command: []string{"python3", "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", "--target", "packages", "-r", pins}}}
}

// ready returns a folder in which the program can run, and what runs it.
func (r runtime) ready(t *testing.T, program string) (dir string, run []string) {
	t.Helper()
	if !r.build {
		dir = r.Ready(t)
		r.Copy(t, dir, program)
		return dir, r.run
	}
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(root, "build", "sdks")
	binary := filepath.Join(root, "build", r.Folder)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./"+filepath.Base(r.Folder))
	cmd.Dir = filepath.Join(root, "e2e", "sdks")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir, []string{binary}
}

// A program is a client or a server that runs. It reads lines, and prints lines of JSON.
type program struct {
	in io.Writer

	mu    sync.Mutex
	said  []line
	noise []string // other lines: some libraries print what they like
}

// A line is what a program says: see the programs.
type line struct {
	Port  int
	Event string
	Tool  string
	Error string
}

// start starts a program. The end of the test ends it.
func (r runtime) start(t *testing.T, name string, arguments ...string) *program {
	t.Helper()
	dir, run := r.ready(t, name)
	cmd := exec.CommandContext(t.Context(), run[0], slices.Concat(run[1:], []string{name}, arguments)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), r.env)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{in: in}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.hear(lines.Bytes())
		}
	}()
	t.Cleanup(func() {
		<-read
		_ = cmd.Wait() // it was killed with the test's context
		if t.Failed() {
			t.Logf("%s %s said %.2000s\nand %.2000q\n%s", r.Folder, name, fmt.Sprint(p.said), p.noise, last(stderr.String(), 40))
		}
	})
	return p
}

// last returns the last lines of a text.
func last(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// hear keeps a line that the program has printed.
func (p *program) hear(text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l line
	if json.Unmarshal(text, &l) != nil {
		p.noise = append(p.noise, string(text))
		return
	}
	p.said = append(p.said, l)
}

// tell writes a line to the program.
func (p *program) tell(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(p.in, text+"\n"); err != nil {
		t.Fatal(err)
	}
}

// port waits until a server has said where it listens.
func (p *program) port(t *testing.T) int {
	t.Helper()
	return p.hears(t, 1, func(l line) bool { return l.Port != 0 })[0].Port
}

// patience is how long a test waits for a line. On a busy machine dozens of programs that import
// many packages take long to start.
const patience = 3 * wait.Patience

// hears waits until the program has said n such lines, and returns all of them.
func (p *program) hears(t *testing.T, n int, such func(line) bool) (found []line) {
	t.Helper()
	wait.UntilWithin(t, patience, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		found = nil
		for _, l := range p.said {
			if such(l) {
				found = append(found, l)
			}
		}
		if len(found) < n {
			return fmt.Errorf("%d such lines, want %d", len(found), n)
		}
		return nil
	})
	return found
}
