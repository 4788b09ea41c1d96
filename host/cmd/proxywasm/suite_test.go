package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A suite in the text format of protocol buffers: names with and without colons, both brackets and
// quotes, lists, comments.
const hitsSuite = `# for hits.wasm
env { log_level: INFO time_secs: 7 wasm_path: 'hits.wasm' }
test {
  name: "Hit" benchmark: false
  plugin_init { log { regex: "I am.*" invert: true } }
  request_headers {
    input { header { key: ":path" value: "/a" } header: < key: "X-Twice" value: "1" >, header { key: "x-twice" value: "2"; } }
    result {
      has_header: [{ key: "X-Hits" value: "1" }, { key: "x-twice" value: "1, 2" }]
      no_header { key: "x-user" }
      headers { regex: "x-hits: [0-9]+" }
      log { exact: "hit " "\x31" }
    }
  }
  request_body { input { content: "one" } result { body { exact: "one" } } }
  request_body { input { file: "two.data" } result { body { file: "two.data" } } }
  response_headers {
    input { content: "HTTP/1.1 201 Created\r\nServer: one\r\nserver: two\r\n" }
    result { has_header { key: ":status" value: "201" } has_header { key: "server" value: "one, two" } }
  }
  stream_destroy { log { regex: "hit.*" invert: true } }
}
test {
  name: "Forbidden"
  properties { path: "request.who" value: "ann" }
  request_headers {
    input { content: "GET http://example.com/forbidden HTTP/1.1\nHost: other\n" }
    result {
      immediate { http_status: 403 grpc_status: -1 details: "" }
      has_header { key: "x-reason" value: "forbidden" }
      body { exact: "no\n" }
      log { exact: "[\"request\" \"who\"] is ann" }
      log { exact: "[\"request.who\"] is ann" }
    }
  }
}
test {
  name: "OnlyAStart"
  stream_init { log { exact: "hit 1" } }
}
test {
  name: "OnlyAResponseInPieces" chunk_size: 4
  response_body { input { content: "0123456789" } result { body { exact: "0123456789" } } }
}
`

func TestSuite(t *testing.T) {
	dir := folder(t, map[string]string{"a.textpb": hitsSuite, "two.data": "two"})
	if code, out := called(t, dir, "run", filepath.Join(dir, "a.textpb")); code != 0 || out != "ok   DIR/a.textpb: 4 tests, 26 expectations\n" {
		t.Errorf("exit code %d, %s", code, out)
	}
	// Every kind of expectation fails if it is not met.
	for _, faults := range [][]fault{{
		{`value: "1" }, {`, `value: "2" }, {`, "a.textpb: Hit: request_headers header X-Hits:\n\tgot  \"1\"\n\twant \"2\""},
		{`"1, 2"`, `"1"`, "request_headers header x-twice:"},
		{`no_header { key: "x-user"`, `no_header { key: "x-hits"`, `request_headers header x-hits: got "1", want none`},
		{`x-hits: [0-9]+`, `hits: [0-9]+`, "request_headers headers:"}, // the whole line
		{`\x31`, `\x32`, "request_headers log:"},
		{`log { regex: "I am.*" invert: true }`, `log { regex: "I am.*" }`, "plugin_init log:"},
		{`result { body { exact: "one" } }`, `result { body { exact: "on" } }`, `got  ["one"]`},
		{`input { file: "two.data" }`, `input { content: "2" }`, `got  ["2"]`},
		{`value: "201"`, `value: "200"`, "response_headers header :status:"},
		{`http_status: 403`, `http_status: 404`, "Forbidden: request_headers http_status: got 403, want 404"},
		{`grpc_status: -1`, `grpc_status: 7`, "grpc_status: got -1, want 7"},
		{`details: ""`, `details: "x"`, "details: got , want x"},
		{`exact: "0123456789"`, `exact: "01234567"`, "response_body body:"},
	}, {
		{`log_level: INFO`, `log_level: ERROR`, "request_headers log:\n\tgot  []"},
		{`example.com/forbidden`, `example.com/allowed`, "Forbidden: request_headers: got the local reply <nil>, want one: true"},
		{`value: "/a"`, `value: "/forbidden"`, "Hit: request_headers: got the local reply &{"},
	}} {
		text := hitsSuite
		for _, f := range faults {
			if strings.Count(text, f.from) != 1 {
				t.Fatalf("%q is there %d times", f.from, strings.Count(text, f.from))
			}
			text = strings.Replace(text, f.from, f.to, 1)
		}
		dir := folder(t, map[string]string{"a.textpb": text, "two.data": "two"})
		code, out := called(t, dir, "run", filepath.Join(dir, "a.textpb"))
		for _, f := range faults {
			if code != 1 || !strings.Contains(out, f.want) {
				t.Errorf("exit code %d, want 1 and %q in\n%s", code, f.want, out)
			}
		}
	}
}

// fault is a change of hitsSuite, and what the program then says.
type fault struct{ from, to, want string }

// The same as YAML, with the filter and its configuration from the command line.
func TestSuiteInYAML(t *testing.T) {
	const text = "test:\n- name: a\n  request_headers:\n    input: {content: \"GET / HTTP/1.1\\nHost: a\\n\"}\n" +
		"    result: {has_header: [{key: ':authority', value: a}], log: [{regex: 'h.*', invert: 'false'}]}\n"
	dir := folder(t, map[string]string{"a.yaml": text, "config": "{}"})
	code, out := called(t, dir, "run", "-filter", filepath.Join(dir, "hits.wasm"), "-config", filepath.Join(dir, "config"), filepath.Join(dir, "a.yaml"))
	if code != 0 || out != "ok   DIR/a.yaml: 1 tests, 3 expectations\n" {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestBadSuites(t *testing.T) {
	for text, want := range map[string]string{
		"env { wasm_path: \"hits.wasm\" }": "no test, want at least one",
		"test { name: \"a\" }":             "it names no filter, want -filter FILTER.wasm",
		"test {\n  nmae: \"a\"\n}":         `DIR/a.textpb:2: no field "nmae"`,
		"test { name \"a\" }":              "DIR/a.textpb:1: want a colon",
		"test {\n":                         "DIR/a.textpb:2: a message without its end",
		"test: 1":                          "DIR/a.textpb:1: want {",
		"test { name: \"a\n\" }":           "DIR/a.textpb:1: a string without its end",
		"test { name: \"\\q\" }":           "is no character of a string",
		"test { benchmark: maybe }":        `parsing "maybe": invalid syntax`,
		"!":                                `DIR/a.textpb:1: "!" is no name`,
		"env { wasm_path: \"hits.wasm\" log_level: LOUD }":                                                      `log_level "LOUD", want one of TRACE, DEBUG`,
		"env { wasm_path: \"none.wasm\" } test { }":                                                             "none.wasm: no such file",
		"env { wasm_path: \"hits.wasm\" config_path: \"no.cfg\" }":                                              "no.cfg: no such file",
		"env { wasm_path: \"hits.wasm\" } test { request_headers { input { content: \"hello\" } } }":            `"hello" is no first line of a request or response`,
		"env { wasm_path: \"hits.wasm\" } test { request_headers { input { content: \"GET / HTTP/1.1\\na\" }}}": `"a" is no header`,
		"env { wasm_path: \"hits.wasm\" } test { plugin_init { log { regex: \"(\" } } }":                        "missing closing )",
		"env { wasm_path: \"hits.wasm\" } test { plugin_init { log { } } }":                                     "plugin_init log: a matcher without exact, regex or file",
	} {
		dir := folder(t, map[string]string{"a.textpb": text})
		if code, out := called(t, dir, "run", filepath.Join(dir, "a.textpb")); code != 1 || !strings.Contains(out, want) {
			t.Errorf("%q: exit code %d, %s\nwant 1, %s", text, code, out, want)
		}
	}
}

func FuzzDecodeText(f *testing.F) {
	f.Add(hitsSuite)
	f.Add("test { name: \"\\?\\'\" 'b' properties < path: \"a.b\" > } # c")
	f.Fuzz(func(t *testing.T, text string) {
		var s suite
		if err := decodeText(text, &s); err != nil && strings.Contains(err.Error(), "reflect") {
			t.Error(err)
		}
	})
}

// The page shows how to play them.
func TestReadmeOfSuites(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "proxywasm run -filter add_request_header.wasm add_request_header/tests.textpb"; !strings.Contains(string(page), want) {
		t.Errorf("host/README.md does not say %q", want)
	}
}

func TestChunks(t *testing.T) {
	for _, test := range []struct {
		test suiteTest
		body string
		want []string
	}{
		{suiteTest{}, "12345", []string{"12345"}},
		{suiteTest{ChunkSize: 2}, "12345", []string{"12", "34", "5"}},
		{suiteTest{ChunkSize: 5}, "12345", []string{"12345"}},
		{suiteTest{NumChunks: 2}, "12345", []string{"12", "345"}},
		{suiteTest{NumChunks: 9}, "123", []string{"123"}},
		{suiteTest{ChunkSize: 2}, "", []string{""}},
	} {
		var got []string
		for _, part := range test.test.chunks([]byte(test.body)) {
			got = append(got, string(part))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q in %d pieces or of %d bytes: got %q, want %q", test.body, test.test.NumChunks, test.test.ChunkSize, got, test.want)
		}
	}
}
