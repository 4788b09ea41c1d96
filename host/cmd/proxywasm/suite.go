package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/streamlatch/streamlatch/host"
)

// suite is a file of expectations for the samples of Google's Service Extensions, as text of
// protocol buffers or as YAML.
//
// GoogleCloudPlatform/service-extensions: plugins/test/runner.proto, TestSuite.
type suite struct {
	Env  suiteEnv    `yaml:"env"`
	Test []suiteTest `yaml:"test"`
}

type suiteEnv struct {
	TestPath   string `yaml:"test_path"`   // nothing looks at it
	WasmPath   string `yaml:"wasm_path"`   // unless -filter is given
	ConfigPath string `yaml:"config_path"` // unless -config is given
	LogLevel   string `yaml:"log_level"`   // "": INFO. Lines below it are not looked at
	LogPath    string `yaml:"log_path"`    // ignored
	TimeSecs   int64  `yaml:"time_secs"`   // since 1970
	Streams    int64  `yaml:"num_additional_streams"`
	Advance    int64  `yaml:"additional_stream_advance_rate"` // of benchmarks, as is Streams
}

type suiteTest struct {
	Name            string       `yaml:"name"`
	Benchmark       boolean      `yaml:"benchmark"` // ignored
	NumChunks       int64        `yaml:"num_chunks"`
	ChunkSize       int64        `yaml:"chunk_size"`
	Properties      []suiteValue `yaml:"properties"`
	RequestHeaders  *invocation  `yaml:"request_headers"`
	RequestBody     []invocation `yaml:"request_body"`
	ResponseHeaders *invocation  `yaml:"response_headers"`
	ResponseBody    []invocation `yaml:"response_body"`
	PluginInit      expectation  `yaml:"plugin_init"`
	StreamInit      expectation  `yaml:"stream_init"`
	StreamDestroy   expectation  `yaml:"stream_destroy"`
}

// suiteValue is a header, or a property.
type suiteValue struct {
	Key   string `yaml:"key"`
	Path  string `yaml:"path"`
	Value string `yaml:"value"`
}

type invocation struct {
	Input struct {
		Header  []suiteValue `yaml:"header"`
		Content string       `yaml:"content"` // headers as HTTP/1.1, or a body
		File    string       `yaml:"file"`    // the same in a file
	} `yaml:"input"`
	Result expectation `yaml:"result"`
}

type expectation struct {
	HasHeader []suiteValue `yaml:"has_header"`
	NoHeader  []suiteValue `yaml:"no_header"`
	Headers   []matcher    `yaml:"headers"` // each of lines "name: value"
	Body      []matcher    `yaml:"body"`
	Immediate *struct {
		HTTPStatus *int64  `yaml:"http_status"`
		GRPCStatus *int64  `yaml:"grpc_status"`
		Details    *string `yaml:"details"`
	} `yaml:"immediate"`
	Log []matcher `yaml:"log"`

	implied bool // the file has no such phase, so that nothing is said of a local reply
}

type matcher struct {
	Invert boolean `yaml:"invert"`
	Exact  *string `yaml:"exact"`
	Regex  *string `yaml:"regex"` // of the whole
	File   *string `yaml:"file"`  // its content, exactly
}

// boolean is one, which their YAML puts in quotes.
type boolean bool

// UnmarshalYAML implements [yaml.Unmarshaler].
func (b *boolean) UnmarshalYAML(node *yaml.Node) error {
	value, err := strconv.ParseBool(node.Value)
	*b = boolean(value)
	return err
}

// readSuite reads a suite. It returns nil if the file is none.
func readSuite(path string, text []byte) (*suite, error) {
	s := &suite{}
	if slices.Contains([]string{".textpb", ".textproto", ".txtpb"}, filepath.Ext(path)) {
		if err := decodeText(string(text), s); err != nil {
			return nil, fmt.Errorf("%s:%w", path, err)
		}
		return s, nil
	}
	var top map[string]yaml.Node
	if yaml.Unmarshal(text, &top) != nil || top["test"].Kind == 0 {
		return nil, nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(s); err != nil {
		return nil, explain(path, err)
	}
	return s, nil
}

// size says how much there is.
func (s *suite) size() string { return fmt.Sprintf("%d tests", len(s.Test)) }

// play plays each test in a World of its own.
func (s *suite) play(ctx context.Context, path string, given given) (p *player, err error) {
	dir := filepath.Dir(path)
	filter := cmp.Or(given.filter, within(dir, s.Env.WasmPath))
	if filter == "" {
		return nil, errors.New("it names no filter, want -filter FILTER.wasm")
	}
	config, err := readIfNamed(cmp.Or(given.config, within(dir, s.Env.ConfigPath)))
	if err != nil {
		return nil, err
	}
	levels := []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"}
	i := slices.Index(levels, cmp.Or(s.Env.LogLevel, "INFO"))
	if i < 0 {
		return nil, fmt.Errorf("log_level %q, want one of %s", s.Env.LogLevel, strings.Join(levels, ", "))
	}
	if len(s.Test) == 0 {
		return nil, errors.New("no test, want at least one")
	}
	level := host.LogLevel(i)
	module, err := compile(ctx, filter)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, module.Close(ctx)) }()
	p = &player{}
	for i, t := range s.Test {
		given.tell("%s: test %d of %d", path, i+1, len(s.Test))
		c := host.Config{PluginConfig: config, Start: time.Unix(s.Env.TimeSecs, 0), LogLevel: level, Trace: given.trace, Properties: map[string][]byte{}}
		for _, property := range t.Properties {
			setProperty(c.Properties, property.Path, property.Value)
		}
		world, err := host.NewWorld(module, c)
		if err != nil {
			return nil, err
		}
		p.world, p.place = world, path+": "+t.Name
		err = t.play(&suitePlayer{player: p, dir: dir, level: level})
		if err := errors.Join(err, world.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	return p, nil
}

// within returns the path of a file that a file in dir names.
func within(dir, file string) string {
	if file == "" || filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}

// A suitePlayer plays one test.
type suitePlayer struct {
	*player
	dir    string // of the suite
	level  host.LogLevel
	logged int // lines of the log that the phases before have made
	stream *host.Stream
}

func (t *suiteTest) play(p *suitePlayer) error {
	if err := p.check("plugin_init", t.PluginInit, nil, nil); err != nil {
		return err
	}
	// A response without a request: the filter gets one in which nothing is special.
	request, expected := host.Request(http.MethodGet, "/"), expectation{implied: true}
	if t.RequestHeaders != nil {
		var err error
		if request, err = p.headers(*t.RequestHeaders); err != nil {
			return err
		}
		expected = t.RequestHeaders.Result
	}
	p.stream = p.world.Worker(0).Open(request)
	p.stream.RequestHeaders(false)
	p.world.Run()
	// Envoy creates the context with the first callback.
	expected.Log = append(expected.Log, t.StreamInit.Log...)
	if err := p.check("request_headers", expected, p.stream.RequestState().Headers, nil); err != nil {
		return err
	}
	if err := p.body("request_body", t, t.RequestBody); err != nil {
		return err
	}
	if t.ResponseHeaders != nil || len(t.ResponseBody) > 0 {
		response, expected := host.Response(http.StatusOK), expectation{implied: true}
		if t.ResponseHeaders != nil {
			var err error
			if response, err = p.headers(*t.ResponseHeaders); err != nil {
				return err
			}
			expected = t.ResponseHeaders.Result
		}
		p.stream.ResponseHeaders(response, false)
		p.world.Run()
		if err := p.check("response_headers", expected, p.stream.ResponseState().Headers, nil); err != nil {
			return err
		}
	}
	if err := p.body("response_body", t, t.ResponseBody); err != nil {
		return err
	}
	p.stream.End()
	t.StreamDestroy.implied = true
	return p.check("stream_destroy", t.StreamDestroy, nil, nil)
}

// body lets a body arrive, and compares what has gone on, or what the filter holds.
func (p *suitePlayer) body(phase string, t *suiteTest, invocations []invocation) error {
	arrive, sent, state := p.stream.RequestBody, p.stream.ToUpstream, p.stream.RequestState
	if phase == "response_body" {
		arrive, sent, state = p.stream.ResponseBody, p.stream.ToClient, p.stream.ResponseState
	}
	for i, invocation := range invocations {
		content, err := p.content(invocation)
		if err != nil {
			return err
		}
		before := len(sent().Body)
		parts := t.chunks(content)
		for j, part := range parts {
			arrive(part, i == len(invocations)-1 && j == len(parts)-1)
			p.world.Run()
		}
		body := sent().Body[before:]
		if now := state(); now.Paused {
			body = slices.Concat(body, now.Body)
		}
		if err := p.check(phase, invocation.Result, nil, body); err != nil {
			return err
		}
	}
	return nil
}

// chunks cuts a body as the test says.
func (t *suiteTest) chunks(body []byte) [][]byte {
	size, most := int(t.ChunkSize), len(body)+1
	if t.NumChunks > 0 {
		size, most = len(body)/int(t.NumChunks), int(t.NumChunks)
	}
	var parts [][]byte
	for size > 0 && len(body) > size && len(parts) < most-1 {
		parts = append(parts, body[:size])
		body = body[size:]
	}
	return append(parts, body)
}

func (p *suitePlayer) content(i invocation) ([]byte, error) {
	if i.Input.File != "" {
		return os.ReadFile(within(p.dir, i.Input.File))
	}
	return []byte(i.Input.Content), nil
}

// headers returns the headers of an input.
func (p *suitePlayer) headers(i invocation) (headers host.Headers, err error) {
	content, err := p.content(i)
	if err != nil {
		return nil, err
	}
	if len(content) > 0 {
		return parseHTTP1(string(content))
	}
	for _, h := range i.Input.Header {
		headers = add(headers, h.Key, h.Value)
	}
	return headers, nil
}

// add adds a header. Their host joins the values of one name.
func add(headers host.Headers, name, value string) host.Headers {
	name = strings.ToLower(name)
	if i := slices.IndexFunc(headers, func(h host.Header) bool { return h.Name == name }); i >= 0 {
		headers[i].Value += ", " + value
		return headers
	}
	return append(headers, host.Header{Name: name, Value: value})
}

// parseHTTP1 returns the headers of an HTTP/1.1 message as HTTP/2 has them.
func parseHTTP1(text string) (headers host.Headers, err error) {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n")
	first := strings.SplitN(lines[0], " ", 3)
	switch {
	case len(first) >= 2 && strings.HasPrefix(first[0], "HTTP/"):
		headers = add(headers, ":status", first[1])
	case len(first) == 3:
		headers = add(headers, ":method", first[0])
		if scheme, rest, absolute := strings.Cut(first[1], "://"); absolute {
			authority, path, _ := strings.Cut(rest, "/")
			headers = add(add(add(headers, ":scheme", scheme), ":authority", authority), ":path", "/"+path)
		} else {
			headers = add(headers, ":path", first[1])
		}
	default:
		return nil, fmt.Errorf("%q is no first line of a request or response", lines[0])
	}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%q is no header", line)
		}
		if strings.EqualFold(name, "host") {
			if _, is := headers.Get(":authority"); is {
				continue
			}
			name = ":authority"
		}
		headers = add(headers, name, strings.TrimSpace(value))
	}
	return headers, nil
}

// check compares a phase with what it should be. A local reply takes the place of what the filter
// has passed on.
func (p *suitePlayer) check(phase string, want expectation, headers host.Headers, body []byte) error {
	var logs []string
	for _, entry := range p.world.Logs().OfWorker(0)[p.logged:] {
		if entry.Level >= p.level {
			logs = append(logs, entry.Message)
		}
	}
	p.logged = len(p.world.Logs().OfWorker(0))
	if p.stream != nil && !want.implied {
		reply := p.stream.LocalReply()
		p.expect((reply != nil) == (want.Immediate != nil), "%s: got the local reply %+v, want one: %v", phase, reply, want.Immediate != nil)
		if reply != nil {
			headers, body = reply.Headers, reply.Body
		}
		if reply != nil && want.Immediate != nil {
			equalIf(p, phase+" http_status", want.Immediate.HTTPStatus, int64(reply.Status))
			equalIf(p, phase+" grpc_status", want.Immediate.GRPCStatus, int64(reply.GRPCStatus))
			equalIf(p, phase+" details", want.Immediate.Details, reply.Details)
		}
	}
	var joined host.Headers
	for _, h := range headers {
		joined = add(joined, h.Name, h.Value)
	}
	lines := make([]string, len(joined))
	for i, h := range joined {
		lines[i] = h.Name + ": " + h.Value
	}
	for _, h := range want.HasHeader {
		got, ok := joined.Get(strings.ToLower(h.Key))
		p.optional(phase+" header "+h.Key, got, ok, &h.Value)
	}
	for _, h := range want.NoHeader {
		got, ok := joined.Get(strings.ToLower(h.Key))
		p.optional(phase+" header "+h.Key, got, ok, nil)
	}
	return errors.Join(p.match(phase+" headers", want.Headers, lines), p.match(phase+" body", want.Body, []string{string(body)}),
		p.match(phase+" log", want.Log, logs))
}

func equalIf[T comparable](p *suitePlayer, what string, want *T, got T) {
	if want != nil {
		p.expect(got == *want, "%s: got %v, want %v", what, got, *want)
	}
}

// match wants one of the texts to match each matcher, or none if it is inverted.
func (p *suitePlayer) match(what string, matchers []matcher, texts []string) error {
	for _, m := range matchers {
		var matches func(string) bool
		wanted := ""
		switch {
		case m.Regex != nil:
			expression, err := regexp.Compile("^(?:" + *m.Regex + ")$")
			if err != nil {
				return err
			}
			matches, wanted = expression.MatchString, *m.Regex
		case m.File != nil:
			content, err := os.ReadFile(within(p.dir, *m.File))
			if err != nil {
				return err
			}
			wanted = string(content)
		case m.Exact != nil:
			wanted = *m.Exact
		default:
			return fmt.Errorf("%s: a matcher without exact, regex or file", what)
		}
		if matches == nil {
			matches = func(text string) bool { return text == wanted }
		}
		p.expect(slices.ContainsFunc(texts, matches) != bool(m.Invert), "%s:\n\tgot  %q\n\twant %q, inverted: %v", what, texts, wanted, m.Invert)
	}
	return nil
}

// compile reads and compiles a filter.
func compile(ctx context.Context, path string) (*host.Module, error) {
	wasm, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return host.Compile(ctx, wasm, host.WithInterpreter())
}

// given is what the command line says beside the files.
type given struct {
	filter, config string    // "": what the file says
	trace          io.Writer // or nil
	update         bool      // golden traces are written, not compared
	terminal       io.Writer // for progress; or nil
}

// tell shows how far it is, on one line of a terminal.
func (g given) tell(format string, arguments ...any) {
	if g.terminal != nil {
		const clear = "\r\x1b[K"
		fmt.Fprintf(g.terminal, clear+format, arguments...)
	}
}
