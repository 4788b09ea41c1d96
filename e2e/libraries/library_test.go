//go:build libraries

package libraries

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/install"
	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A language has client libraries, and a program that runs one of them. The program's comment says
// what it reads and prints.
type language struct {
	name  string                          // the names of its libraries begin with it
	ready func(t *testing.T) (dir string) // makes program and libraries ready, in build
	run   []string                        // the program, in that folder
}

var languages = []language{
	{
		name: "npm",
		ready: installed{program: "client.mjs", Packages: install.Packages{Folder: "libraries/npm", Pins: []string{"package.json", "package-lock.json"},
			Command: []string{"npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"}}}.ready,
		run: []string{"node", "client.mjs"},
	},
	{
		name: "PyPI",
		ready: installed{program: "client.py", Packages: install.Packages{Folder: "libraries/python", Pins: []string{"requirements.txt", "sseclient-py.txt"},
			Command: []string{"sh", "-c", "python3 -m pip install -q --no-deps --target all -r requirements.txt && " +
				"python3 -m pip install -q --no-deps --target sseclient-py -r sseclient-py.txt"}}}.ready,
		run: []string{"python3", "client.py"},
	},
	{
		name: "Java",
		ready: installed{program: "Client.java", Packages: install.Packages{Folder: "libraries/java", Pins: []string{"pom.xml", "Client.java"},
			Command: []string{"sh", "-c", "mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib && javac -cp 'lib/*' -d . Client.java"}}}.ready,
		run: []string{"java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", "lib/*:.", "Client"},
	},
	{name: "Go", ready: golang, run: []string{"./golang"}},
}

// golang builds the program for Go.
func golang(t *testing.T) (dir string) {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(root, "build", "libraries")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "golang"), "./golang")
	cmd.Dir = filepath.Join(root, "e2e", "libraries")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// A library is a client library, ready to run.
type library struct {
	Library string // how the program calls it
	Name    string // with its version

	id  string // the client to the filter
	run []string
	dir string
}

var only = flag.String("only", "", "run only libraries with this in their name, and look only at their rows of the table")

// wanted reports whether the language may have a library that -only asks for. For "npm event"
// nothing is downloaded for other languages.
func (l language) wanted() bool {
	first, _, named := strings.Cut(*only, " ")
	return !named || first == l.name || !slices.ContainsFunc(languages, func(l language) bool { return l.name == first })
}

// all makes the libraries of all languages ready, and lists them.
func all(t *testing.T) []library {
	t.Helper()
	var libraries []library
	for _, l := range languages {
		if !l.wanted() {
			continue
		}
		one := library{run: l.run, dir: l.ready(t)}
		list, err := one.command(t).Output()
		if err != nil {
			t.Fatalf("%v: %v", l.run, err)
		}
		for line := range bytes.Lines(list) {
			if err := json.Unmarshal(line, &one); err != nil {
				t.Fatalf("%v: %q: %v", l.run, line, err)
			}
			if one.id = fmt.Sprintf("library%d", len(libraries)); strings.Contains(one.Name, *only) {
				libraries = append(libraries, one)
			}
		}
	}
	return libraries
}

func (l library) command(t *testing.T, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), l.run[0], slices.Concat(l.run[1:], arguments)...)
	cmd.Dir = l.dir
	return cmd
}

// installed is a program with libraries that a command installs.
type installed struct {
	install.Packages
	program string
}

// ready returns a folder in which the program can run.
func (i installed) ready(t *testing.T) (dir string) {
	t.Helper()
	dir = i.Ready(t)
	i.Copy(t, dir, i.program)
	return dir
}

// A client is a running library. It opens a stream for each cause.
type client struct {
	library
	stderr bytes.Buffer // complete when the process has ended

	mu   sync.Mutex
	said map[string][]line // by cause
}

// A line is what a program learns from its library.
type line struct {
	Cause, What, ID, Text string
}

// start starts the library on a URL for each cause.
func (l library) start(t *testing.T, envoy func(cause string) *rig.Rig) *client {
	t.Helper()
	c := &client{library: l, said: make(map[string][]line)}
	arguments := []string{l.Library}
	for _, cause := range causes {
		arguments = append(arguments, cause+"=http://"+envoy(cause).Address()+path(cause, l.id))
	}
	cmd := l.command(t, arguments...)
	cmd.Stderr = &c.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.hear(lines.Bytes())
		}
		if err := cmd.Wait(); t.Context().Err() == nil && !c.allEnded() {
			t.Errorf("%s: its program ended before its streams: %v\n%s", l.Name, err, c.stderr.Bytes())
		}
	}()
	t.Cleanup(func() { <-ended }) // it is killed with the test's context
	return c
}

// hear keeps a line of JSON. Some libraries print other lines.
func (c *client) hear(text []byte) {
	var l line
	if json.Unmarshal(text, &l) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said[l.Cause] = append(c.said[l.Cause], l)
}

// lines returns what the library has told its program so far.
func (c *client) lines(cause string) []line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.said[cause])
}

// received reports whether the library has given an event with this id to its program.
func (c *client) received(cause, id string) bool {
	return slices.ContainsFunc(c.lines(cause), func(l line) bool { return l.What == "event" && l.ID == id })
}

// ended reports whether the library has stopped, and whether it has told its program of an error
// then. Some tell it just after the end.
func (c *client) ended(cause string) (ended, withError bool) {
	said := c.lines(cause)
	i := slices.IndexFunc(said, func(l line) bool { return l.What == "end" })
	if i < 0 {
		return false, false
	}
	around := said[max(0, i-1):min(len(said), i+2)]
	return true, slices.ContainsFunc(around, func(l line) bool { return l.What == "error" })
}

// allEnded reports whether the library has stopped under all causes.
func (c *client) allEnded() bool {
	return !slices.ContainsFunc(causes, func(cause string) bool {
		ended, _ := c.ended(cause)
		return !ended
	})
}
