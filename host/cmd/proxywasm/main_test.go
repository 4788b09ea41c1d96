package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/host/gobuild"
)

var hits = sync.OnceValues(func() ([]byte, error) {
	return gobuild.Build(context.Background(), "./testdata/hits", "")
})

// folder returns a folder with hits.wasm and files of expectations, by name.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	wasm, err := hits()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hits.wasm"), wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// called runs the program and returns its exit code and all it has written, with dir as "DIR".
func called(t *testing.T, dir string, arguments ...string) (int, string) {
	t.Helper()
	var out strings.Builder
	code := command(t.Context(), arguments, &out, &out)
	return code, strings.ReplaceAll(out.String(), dir+"/", "DIR/")
}

func TestRun(t *testing.T) {
	text, err := os.ReadFile("testdata/hits.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t, map[string]string{"hits.yaml": string(text)})
	code, out := called(t, dir, "run", filepath.Join(dir, "hits.yaml"))
	if want := "ok   DIR/hits.yaml: 7 steps, 22 expectations\n"; code != 0 || out != want {
		t.Errorf("exit code %d, %s\nwant 0, %s", code, out, want)
	}
	code, out = called(t, dir, "run", "-trace", filepath.Join(dir, "hits.yaml"))
	if want := `worker 1:   proxy_set_shared_data(key="hits", value="2"`; code != 0 || !strings.Contains(out, want) {
		t.Errorf("exit code %d, the trace lacks %q:\n%s", code, want, out)
	}
}

// On a terminal a line says how far it is, and is gone at the end.
func TestProgress(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": "filter: hits.wasm\nsteps:\n- open: {stream: a}\n- advance: 1s\n"})
	path := filepath.Join(dir, "a.yaml")
	var terminal strings.Builder
	if err := run(t.Context(), []string{path}, given{terminal: &terminal}, io.Discard); err != nil {
		t.Fatal(err)
	}
	const clear = "\r\x1b[K"
	want := clear + path + ": compiles the filter" + clear + path + ": step 1 of 2" + clear + path + ": step 2 of 2" + clear
	if got := terminal.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Every kind of expectation fails if it is not met, and says where, and what was wanted.
func TestUnmet(t *testing.T) {
	const one = "filter: hits.wasm\nsteps:\n- open: {stream: a, path: /}\n  want: "
	const reply = "filter: hits.wasm\nsteps:\n- open: {stream: a, path: /forbidden}\n  want: "
	for _, test := range []struct{ text, want string }{
		{one + "{upstream: {headers: {x-hits: '2'}}}", "upstream header x-hits:\n\tgot  \"1\"\n\twant \"2\""},
		{one + "{upstream: {headers: {x-hits: null}}}", `upstream header x-hits: got "1", want none`},
		{one + "{upstream: {headers: {x-user: bob}}}", `upstream header x-user: there is none, want "bob"`},
		{one + "{upstream: {body: x}}", "upstream body:\n\tgot  \"\"\n\twant \"x\""},
		{one + "{upstream: {none: true}}", "want nothing"},
		{one + "{ending: reset}", "ending:\n\tgot  \"open\"\n\twant \"reset\""},
		{one + "{log: [hit 2]}", `log: no line has "hit 2"; it is`},
		{one + "{no_log: [hit]}", `log: want no line with "hit", got`},
		{one + "{shared: {hits: '7'}}", "shared data \"hits\":\n\tgot  \"1\"\n\twant \"7\""},
		{one + "{metrics: {ticks: 1}}", "metric ticks: got 0 (defined: true), want 1"},
		{one + "{metrics: {other: 0}}", "metric other: got 0 (defined: false), want 0"},
		{reply + "{client: {status: 200}}", "client status:\n\tgot  \"403\"\n\twant \"200\""},
		{"filter: hits.wasm\nsteps:\n- open: {stream: a}\n- send: {stream: a, body: x}", "DIR/a.yaml:4: send to a: ResponseBody before ResponseHeaders"},
		{"filter: hits.wasm\nsteps:\n- open: {stream: a, path: /forbidden}\n- respond: {stream: a}", "DIR/a.yaml:4: respond to a: the stream has ended before: completed"},
		{"filter: hits.wasm\nsteps:\n- open: {stream: a}\n- want: {ending: open}", "want says nothing of which stream: name one"},
	} {
		dir := folder(t, map[string]string{"a.yaml": test.text})
		code, out := called(t, dir, "run", filepath.Join(dir, "a.yaml"))
		if code != 1 || !strings.Contains(out, test.want) || !strings.Contains(out, "FAIL DIR/a.yaml: 1 of 1 expectations are not met\n") ||
			!strings.HasPrefix(out, "DIR/a.yaml:") || !strings.Contains(out, "1 of 1 files failed") {
			t.Errorf("%s: exit code %d,\n%s\nwant 1 and %q", test.text, code, out, test.want)
		}
	}
}

// Another worker gets its request when the first one is about to set the number.
func TestInterrupt(t *testing.T) {
	const head = "filter: hits.wasm\nworkers: 2\nsteps:\n"
	const open = "- open: {stream: a, worker: 0}\n  interrupt: {before: proxy_set_shared_data, open: {stream: b, worker: 1}}\n"
	dir := folder(t, map[string]string{
		"a.yaml": head + open + "  want: {stream: b, upstream: {headers: {x-hits: '1'}}}\n- want: {stream: a, upstream: {headers: {x-hits: '2'}}}\n",
		"b.yaml": head + strings.Replace(open, "proxy_set_shared_data", "proxy_dequeue_shared_queue", 1),
	})
	if code, out := called(t, dir, "run", filepath.Join(dir, "a.yaml")); code != 0 || out != "ok   DIR/a.yaml: 2 steps, 2 expectations\n" {
		t.Errorf("exit code %d, %s", code, out)
	}
	if code, out := called(t, dir, "run", filepath.Join(dir, "b.yaml")); code != 1 || !strings.Contains(out, "b.yaml:4: open a: the filter has not called proxy_dequeue_shared_queue") {
		t.Errorf("exit code %d, %s", code, out)
	}
}

// A golden trace is written by -update, and compared afterwards.
func TestGoldenTrace(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": "filter: hits.wasm\ntrace: a.trace\nsteps:\n- open: {stream: a}\n"})
	path, golden := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "a.trace")
	if code, out := called(t, dir, "run", path); code != 1 || !strings.Contains(out, "a.trace: no such file") {
		t.Errorf("without a golden file: exit code %d, %s", code, out)
	}
	if code, out := called(t, dir, "run", "-update", path); code != 0 {
		t.Errorf("-update: exit code %d, %s", code, out)
	}
	if code, out := called(t, dir, "run", path); code != 0 || out != "ok   DIR/a.yaml: 1 steps, 1 expectations\n" {
		t.Errorf("exit code %d, %s", code, out)
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	const line = `proxy_set_shared_data(key="hits", value="1"`
	if err := os.WriteFile(golden, []byte(strings.Replace(string(text), line, `proxy_set_shared_data(key="hits", value="7"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	number := strings.Count(string(text[:strings.Index(string(text), line)]), "\n") + 1
	if code, out := called(t, dir, "run", path); code != 1 || !strings.Contains(out, fmt.Sprintf("DIR/a.trace:%d: trace", number)) ||
		!strings.Contains(out, `value="1", cas`) || !strings.Contains(out, `value="7", cas`) {
		t.Errorf("exit code %d, %s", code, out)
	}
	if err := os.WriteFile(golden, append(text, "more\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := called(t, dir, "run", path); code != 1 || !strings.Contains(out, "want more") {
		t.Errorf("a longer golden file: exit code %d, %s", code, out)
	}
}

// A .wasm may have several filters: the root id says which. Here the guest logs it.
func TestRootID(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": "filter: hits.wasm\nroot_id: counter\nsteps:\n- want: {log: [I am counter]}\n"})
	if code, out := called(t, dir, "run", filepath.Join(dir, "a.yaml")); code != 0 {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestBadFiles(t *testing.T) {
	const head = "filter: hits.wasm\nsteps:\n"
	for text, want := range map[string]string{
		"":                                      "DIR/a.yaml: no filter, want the path of a .wasm",
		"filter: hits.wasm":                     "DIR/a.yaml: no steps, want at least one",
		head + "- advance: 1s\n  interrupt: {}": "DIR/a.yaml:3: want interrupt beside open",
		"workers: 2\n" + head + "- open: {stream: a, worker: 1}\n  interrupt: {before: x, open: {stream: b, worker: 1}}": "DIR/a.yaml:4: want interrupt beside open",
		"test: [{nmae: a}]":                                            `no field "nmae" in a suiteTest, want name, benchmark`,
		head + "- opne: {}":                                            `DIR/a.yaml: line 3: no field "opne" in a step, want open, respond, send, close, advance, interrupt, want`,
		head + "- open: {stream: a, headers: 1}":                       "DIR/a.yaml: line 3: cannot unmarshal",
		"\x00asm\x01\x00\x00\x00":                                      "DIR/a.yaml is a filter, want a file of expectations",
		head + "- {}":                                                  "DIR/a.yaml:3: a step with 0 things that happen",
		head + "- open: {path: /}":                                     "DIR/a.yaml:3: open without stream, want a name for it",
		head + "- advance: soon":                                       `line 3: "soon" is no duration, want for example 1.5s or 2m`,
		head + "- close: b":                                            `DIR/a.yaml:3: no stream "b", want one that an earlier step has opened`,
		head + "- respond: {}":                                         `DIR/a.yaml:3: no stream "", want one that an earlier step has opened`,
		head + "- open: {stream: a, worker: 1}":                        "DIR/a.yaml:3: worker 1, want 0 to 0",
		head + "- open: {stream: a}\n  advance: 1s":                    "DIR/a.yaml:3: a step with 2 things that happen",
		head + "- open: {stream: a}\n- open: {stream: a}":              `DIR/a.yaml:4: stream "a" is there already`,
		"filter: hits.wasm\nworkers: 0\nsteps:\n- open: {stream: a}\n": "DIR/a.yaml: 0 workers, want at least 1",
		"filter: none.wasm\nsteps:\n- open: {stream: a}\n":             "none.wasm: no such file",
		"filter: a.yaml\nsteps:\n- open: {stream: a}\n":                "DIR/a.yaml: compile guest: ",
	} {
		dir := folder(t, map[string]string{"a.yaml": text})
		if code, out := called(t, dir, "run", filepath.Join(dir, "a.yaml")); code != 1 || !strings.Contains(out, want) {
			t.Errorf("%q: exit code %d, %s\nwant 1, %s", text, code, out, want)
		}
	}
}

func TestInfo(t *testing.T) {
	dir := folder(t, map[string]string{"text": "hello"})
	code, out := called(t, dir, "info", filepath.Join(dir, "hits.wasm"))
	for _, want := range []string{"DIR/hits.wasm: ", " bytes\nABI version: 0.2.0\n", "callbacks: ", "on_request_headers, ", "\nstart and memory: _initialize\n", "\nimports from env: ",
		"get_shared_data", "\nneeds: Envoy 1.33 or newer", "\nthe host can run it\n"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want 0 and %q in\n%s", code, want, out)
		}
	}
	if code, out := called(t, dir, "info", filepath.Join(dir, "text")); code != 1 || !strings.Contains(out, "DIR/text is not a WebAssembly module") {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestUsage(t *testing.T) {
	if code, out := called(t, "", "help"); code != 0 || out != usage {
		t.Errorf("help: exit code %d, %s\nwant 0 and the usage", code, out)
	}
	for _, arguments := range [][]string{nil, {"serve", "-x"}, {"walk"}, {"info"}, {"info", "a", "b"}, {"run"}, {"run", "-trace"}, {"run", "-x", "a"}} {
		if code, out := called(t, "", arguments...); code != 2 || !strings.Contains(out, usage) {
			t.Errorf("%q: exit code %d, %s\nwant 2 and the usage", arguments, code, out)
		}
	}
}

// A C++ linker may export a whole library.
func TestInfoOfManyExports(t *testing.T) {
	var out strings.Builder
	names := make([]string, most+7)
	for i := range names {
		names[i] = fmt.Sprint("f", 100+i)
	}
	list(&out, "other exports", names)
	if text := out.String(); !strings.HasPrefix(text, "other exports: f100, f101, ") || !strings.HasSuffix(text, ", f149 and 7 more\n") {
		t.Error(text)
	}
}

// Parts of a path may have dots in them, and nobody says where they end.
func TestPropertyPaths(t *testing.T) {
	properties := map[string][]byte{}
	setProperty(properties, "a.b.c", "v")
	for _, path := range []string{"a.b.c", "a\x00b.c", "a.b\x00c", "a\x00b\x00c"} {
		if string(properties[path]) != "v" {
			t.Errorf("%q is not set", path)
		}
	}
	if len(properties) != 4 {
		t.Errorf("got %q", properties)
	}
	clear(properties)
	setProperty(properties, strings.Repeat(".a", 40), "v")
	if _, parted := properties[strings.Repeat("\x00a", 40)]; len(properties) != 1<<mostDots || !parted {
		t.Errorf("got %d paths, want %d with that of 40 parts", len(properties), 1<<mostDots)
	}
}

// host/README.md shows testdata/hits.yaml.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/hits.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```yaml\n"+string(text)+"```\n") {
		t.Error("host/README.md does not show testdata/hits.yaml")
	}
}
