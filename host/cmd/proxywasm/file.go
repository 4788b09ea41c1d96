package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// file is a file of expectations.
type file struct {
	Filter     string            `yaml:"filter"`     // path of the .wasm, from the file's directory
	Workers    int               `yaml:"workers"`    // 0: 1
	Config     string            `yaml:"config"`     // of the plugin
	VMConfig   string            `yaml:"vm_config"`  //
	VMID       string            `yaml:"vm_id"`      //
	RootID     string            `yaml:"root_id"`    // for a .wasm with several filters
	Properties map[string]string `yaml:"properties"` // by path, with dots between its parts
	Clusters   map[string]answer `yaml:"clusters"`   // what answers callouts, by name
	Trace      string            `yaml:"trace"`      // golden file of all callbacks and hostcalls, if it is to be compared
	Steps      []step            `yaml:"steps"`

	lines []int // of the steps
}

// answer is what a cluster answers every request.
type answer struct {
	Status  int               `yaml:"status"` // 0: 200
	Headers map[string]string `yaml:"headers"`
	Body    string            `yaml:"body"`
}

// step is one thing that happens, or none, and what is then to be seen.
type step struct {
	Open    *open    `yaml:"open"`    // a request arrives
	Respond *respond `yaml:"respond"` // the upstream's response arrives
	Send    *send    `yaml:"send"`    // more of the response's body arrives
	Close   string   `yaml:"close"`   // the client of this stream leaves
	Advance duration `yaml:"advance"` // time passes

	Interrupt *interrupt `yaml:"interrupt"` // of open: what happens in the middle of it
	Want      *want      `yaml:"want"`
}

// interrupt lets another worker get a request in the middle of a callback.
type interrupt struct {
	Before string `yaml:"before"` // the hostcall, for example proxy_set_shared_data; the first of them
	Open   *open  `yaml:"open"`
}

type open struct {
	Stream  string            `yaml:"stream"` // a name for it
	Worker  int               `yaml:"worker"`
	Method  string            `yaml:"method"` // "": GET
	Path    string            `yaml:"path"`   // "": /
	Headers map[string]string `yaml:"headers"`
	Body    string            `yaml:"body"`
}

type respond struct {
	Stream  string            `yaml:"stream"`
	Status  int               `yaml:"status"` // 0: 200
	Headers map[string]string `yaml:"headers"`
	Body    string            `yaml:"body"`
	Open    bool              `yaml:"open"` // more will come: see send
}

type send struct {
	Stream string `yaml:"stream"`
	Body   string `yaml:"body"`
	End    bool   `yaml:"end"`
}

// opens are the requests of a step.
func (s step) opens() (requests []*open) {
	if s.Open != nil {
		requests = append(requests, s.Open)
	}
	if s.Interrupt != nil && s.Interrupt.Open != nil {
		requests = append(requests, s.Interrupt.Open)
	}
	return requests
}

func (r *respond) stream() string {
	if r == nil {
		return ""
	}
	return r.Stream
}

func (s *send) stream() string {
	if s == nil {
		return ""
	}
	return s.Stream
}

// want is what must be true. What is left out is not looked at.
type want struct {
	Stream   string             `yaml:"stream"`   // "": that of the step
	Upstream *message           `yaml:"upstream"` // what has gone there so far
	Client   *message           `yaml:"client"`   // what has gone there so far, local replies too
	Ending   string             `yaml:"ending"`   // open, completed, reset or disconnected
	Log      []string           `yaml:"log"`      // each is in a line
	NoLog    []string           `yaml:"no_log"`   // each is in no line
	Shared   map[string]*string `yaml:"shared"`   // shared data; null: no such key
	Metrics  map[string]uint64  `yaml:"metrics"`  // counters and gauges
}

type message struct {
	Status  int                `yaml:"status"`
	Headers map[string]*string `yaml:"headers"` // null: no such header
	Body    *string            `yaml:"body"`
	None    bool               `yaml:"none"` // nothing has arrived
}

type duration time.Duration

// UnmarshalYAML reads "1m30s".
func (d *duration) UnmarshalYAML(node *yaml.Node) error {
	got, err := time.ParseDuration(node.Value)
	if err != nil || got <= 0 {
		return fmt.Errorf("line %d: %q is no duration, want for example 1.5s or 2m", node.Line, node.Value)
	}
	*d = duration(got)
	return nil
}

// read reads a file of ours or a suite. It refuses fields that do not exist, and steps that do
// several things.
func read(path string) (sheet, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(text, []byte("\x00asm")) {
		return nil, fmt.Errorf("%s is a filter, want a file of expectations, which names it", path)
	}
	if s, err := readSuite(path, text); s != nil || err != nil {
		return s, err
	}
	f := &file{Workers: 1}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(f); err != nil && !errors.Is(err, io.EOF) {
		return nil, explain(path, err)
	}
	var document struct {
		Steps []yaml.Node `yaml:"steps"`
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, node := range document.Steps {
		f.lines = append(f.lines, node.Line)
	}
	return f, f.check(path)
}

var unknownField = regexp.MustCompile(`^line (\d+): field (.*) not found in type main\.(.*)$`)

// explain says where an error of the YAML decoder is, and names the fields that there are.
func explain(path string, err error) error {
	var faults *yaml.TypeError
	if !errors.As(err, &faults) {
		return fmt.Errorf("%s: %w", path, err)
	}
	var errs []error
	for _, fault := range faults.Errors {
		if m := unknownField.FindStringSubmatch(fault); m != nil {
			fault = fmt.Sprintf("line %s: no field %q in a %s, want %s", m[1], m[2], m[3], strings.Join(fields(m[3]), ", "))
		}
		errs = append(errs, fmt.Errorf("%s: %s", path, fault))
	}
	return errors.Join(errs...)
}

// fields returns the names that a part of a file can have.
func fields(part string) (names []string) {
	for _, v := range []any{file{}, answer{}, step{}, interrupt{}, open{}, respond{}, send{}, want{}, message{},
		suite{}, suiteEnv{}, suiteTest{}, suiteValue{}, invocation{}, expectation{}, matcher{}} {
		t := reflect.TypeOf(v)
		for i := range t.NumField() {
			if name := t.Field(i).Tag.Get("yaml"); t.Name() == part && name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}

func (f *file) check(path string) error {
	var errs []error
	if f.Filter == "" {
		errs = append(errs, fmt.Errorf("%s: no filter, want the path of a .wasm", path))
	}
	if f.Workers < 1 {
		errs = append(errs, fmt.Errorf("%s: %d workers, want at least 1", path, f.Workers))
	}
	if len(f.Steps) == 0 {
		errs = append(errs, fmt.Errorf("%s: no steps, want at least one", path))
	}
	open := map[string]bool{}
	for i, s := range f.Steps {
		fault := func(format string, arguments ...any) {
			errs = append(errs, fmt.Errorf("%s:%d: %s", path, f.lines[i], fmt.Sprintf(format, arguments...)))
		}
		things, stream := 0, ""
		for _, o := range s.opens() {
			switch {
			case o.Stream == "":
				fault("open without stream, want a name for it")
			case open[o.Stream]:
				fault("stream %q is there already, want another name", o.Stream)
			case o.Worker < 0 || o.Worker >= f.Workers:
				fault("worker %d, want 0 to %d", o.Worker, f.Workers-1)
			}
			open[o.Stream] = true
		}
		if s.Open != nil {
			things++
		}
		if i := s.Interrupt; i != nil && (s.Open == nil || i.Before == "" || i.Open == nil || i.Open.Worker == s.Open.Worker) {
			fault("want interrupt beside open, with the name of a hostcall in before, and with open on another worker")
		}
		if s.Respond != nil {
			things, stream = things+1, s.Respond.Stream
		}
		if s.Send != nil {
			things, stream = things+1, s.Send.Stream
		}
		if s.Close != "" {
			things, stream = things+1, s.Close
		}
		if s.Advance > 0 {
			things++
		}
		if s.Want != nil && s.Want.Stream != "" {
			stream = s.Want.Stream
		}
		if (s.Respond != nil || s.Send != nil) && stream == "" || stream != "" && !open[stream] {
			fault("no stream %q, want one that an earlier step has opened", stream)
		}
		if things > 1 || things == 0 && s.Want == nil {
			fault("a step with %d things that happen, want one of open, respond, send, close and advance, or want alone", things)
		}
	}
	return errors.Join(errs...)
}
