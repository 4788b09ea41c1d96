// Package scenario tells in files what becomes of event streams, and plays these files on all
// levels of the filter: the decision and the registry over a plain map, the module under the test
// host, the same in two Envoys that share a simulated etcd, and the module in a real Envoy. A
// scenario is written once, and must have the same result on every level.
//
// The files in testdata begin with why the scenario exists. Then come commands. Below each command
// stand all changes that it causes, as a client sees them and with the reason that the access log
// gives. A change that is not in the file fails the test. For the commands see [play]. Time is
// virtual on all levels but in a real Envoy.
//
//	go test ./e2e/scenario                    all files on all levels
//	go test ./e2e/scenario -run /wasm/4/goodbye
//	go test ./e2e/scenario -rewrite           writes the results of the plain level into the files
//
// After -rewrite read the diff, and run the test again without it: the other levels have not been
// played yet.
package scenario

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// A level is one way to play a scenario, with a number of workers.
type level struct {
	name    string // as the command "only" of a file names it
	begin   func(t *testing.T, workers int, files []file) stage
	workers [2]int
	fast    bool // its time is virtual
}

// A stage is a level with everything that its files share.
type stage interface {
	// play returns a system for a file, in which nothing has happened yet. The end of the test ends
	// it.
	play(t *testing.T, f file) system
}

var levels = []level{
	{"plain", newPlainStage, [2]int{1, 4}, true},
	{"wasm", newWasmStage, [2]int{1, 4}, true},
	{"fleet", newFleetStage, [2]int{2, 4}, true},
	{"envoy", newEnvoyStage, [2]int{1, 4}, false},
}

// restricted are the files that do not run on all levels. The files say why. TestFiles checks that
// there are no others.
var restricted = map[string][]string{
	"contention_allow":  {"plain", "wasm"},
	"contention_refuse": {"plain", "wasm"},
	"total":             {"plain", "wasm", "envoy"},
	"total_observe":     {"plain", "wasm", "envoy"},
}

func TestMain(m *testing.M) {
	flag.Parse()
	// In Envoy the scenarios sleep most of the time, so more of them than there are processors can
	// run at once.
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestScenarios(t *testing.T) {
	files := readFiles(t)
	for _, l := range levels {
		t.Run(l.name, func(t *testing.T) {
			if !l.fast {
				t.Parallel()
			}
			for _, workers := range l.workers {
				t.Run(fmt.Sprint(workers), func(t *testing.T) {
					if rewriting() && (l.name != "plain" || workers != 4) {
						t.Skip("-rewrite takes the results of plain/4 only")
					}
					if !l.fast {
						t.Parallel()
					}
					playAll(t, l, workers, files)
				})
			}
		})
	}
}

func playAll(t *testing.T, l level, workers int, files []file) {
	files = slices.DeleteFunc(slices.Clone(files), func(f file) bool {
		if f.runsOn(l.name) {
			return false
		}
		t.Logf("%s does not run on level %s: %s", f.name, l.name, f.whyOnly)
		return true
	})
	s := l.begin(t, workers, files)
	for _, f := range files {
		t.Run(f.name, func(t *testing.T) {
			if !l.fast && !f.counted() {
				t.Parallel()
			}
			p := newPlay(f, s.play(t, f), workers)
			datadriven.RunTest(t, f.path, p.run)
			p.end(t)
		})
	}
}

// rewriting reports whether datadriven rewrites the files.
func rewriting() bool { return flag.Lookup("rewrite").Value.String() == "true" }

// Every file says why it exists, and why it does not run on all levels if that is so.
func TestFiles(t *testing.T) {
	found := map[string][]string{}
	for _, f := range readFiles(t) {
		if !strings.HasPrefix(f.text, "# Why: ") {
			t.Errorf("%s: want # Why: at the beginning", f.path)
		}
		if len(f.only) > 0 {
			if f.whyOnly == "" {
				t.Errorf("%s: want a reason below the command only", f.path)
			}
			found[f.name] = f.only
		}
	}
	if fmt.Sprint(found) != fmt.Sprint(restricted) {
		t.Errorf("files that do not run on all levels: got %v, want %v", found, restricted)
	}
}

// A file is a scenario in testdata.
type file struct {
	name, path, text string

	config  []byte   // the input of the command config
	only    []string // levels; none: all
	whyOnly string

	top map[string]json.RawMessage // the configuration without its rules
}

// counted reports whether the file counts the streams of the whole Envoy, so that no other file may
// run there at the same time.
func (f file) counted() bool { return f.top["max_total_streams"] != nil }

func (f file) runsOn(level string) bool { return len(f.only) == 0 || slices.Contains(f.only, level) }

func readFiles(t *testing.T) []file {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatal("testdata: got no files, want some")
	}
	var files []file
	for _, path := range paths {
		f, err := readFile(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		files = append(files, f)
	}
	return files
}

// readFile reads what must be known about a file before it is played.
func readFile(path string) (file, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return file{}, err
	}
	f := file{name: strings.TrimSuffix(filepath.Base(path), ".txt"), path: path, text: string(text)}
	if command, input, ok := block(f.text, "only "); ok {
		f.only, f.whyOnly = strings.Fields(command)[1:], input
	}
	_, config, ok := block(f.text, "config")
	if !ok {
		return file{}, fmt.Errorf("want a command config")
	}
	f.config = []byte(config)
	if err := json.Unmarshal(f.config, &f.top); err != nil {
		return file{}, fmt.Errorf("config: %w", err)
	}
	delete(f.top, "rules")
	return f, nil
}

// block finds the first command that begins with start, and returns its line and its input.
func block(text, start string) (command, input string, ok bool) {
	i := strings.Index("\n"+text, "\n"+start)
	if i < 0 {
		return "", "", false
	}
	command, rest, _ := strings.Cut(text[i:], "\n")
	input, _, ok = strings.Cut(rest, "----\n")
	return command, strings.TrimSpace(input), ok
}

// rules returns the names of the file's rules, in order.
func (f file) rules() ([]string, error) {
	var c struct{ Rules []struct{ Name string } }
	if err := json.Unmarshal(f.config, &c); err != nil {
		return nil, err
	}
	var names []string
	for _, r := range c.Rules {
		names = append(names, r.Name)
	}
	return names, nil
}

func (f file) adminPath() (path string) {
	if raw := f.top["admin_path"]; raw != nil {
		_ = json.Unmarshal(raw, &path) // the filter refuses a value that is not a string
	}
	return path
}
