package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// A sheet is what a file of expectations says.
type sheet interface {
	play(ctx context.Context, path string, given given) (*player, error)
	size() string
}

// run plays files of expectations.
func run(ctx context.Context, paths []string, given given, out io.Writer) error {
	failed := 0
	for _, path := range paths {
		s, err := read(path)
		if err != nil {
			return err
		}
		given.tell("%s: compiles the filter", path)
		p, err := s.play(ctx, path, given)
		given.tell("")
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, fault := range p.faults {
			fmt.Fprintln(out, fault)
		}
		if len(p.faults) > 0 {
			failed++
			fmt.Fprintf(out, "FAIL %s: %d of %d expectations are not met\n", path, len(p.faults), p.checked)
			continue
		}
		fmt.Fprintf(out, "ok   %s: %s, %d expectations\n", path, s.size(), p.checked)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d files failed", failed, len(paths))
	}
	return nil
}

// A player plays one file.
type player struct {
	world   *host.World
	streams map[string]*host.Stream
	place   string // file, line and step, for faults
	checked int
	faults  []string
}

func (f *file) size() string { return fmt.Sprintf("%d steps", len(f.Steps)) }

func (f *file) play(ctx context.Context, path string, given given) (p *player, err error) {
	module, err := compile(ctx, cmp.Or(given.filter, within(filepath.Dir(path), f.Filter)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, module.Close(ctx)) }()
	config := []byte(f.Config)
	if given.config != "" {
		if config, err = os.ReadFile(given.config); err != nil {
			return nil, err
		}
	}
	c := host.Config{Workers: f.Workers, PluginConfig: config, VMConfig: []byte(f.VMConfig), VMID: f.VMID, RootID: f.RootID, Trace: given.trace,
		Properties: map[string][]byte{}, Clusters: map[string]http.Handler{}}
	for path, value := range f.Properties {
		setProperty(c.Properties, path, value)
	}
	for name, a := range f.Clusters {
		c.Clusters[name] = a
	}
	var trace strings.Builder
	if f.Trace != "" {
		c.Trace = &trace
		if given.trace != nil {
			c.Trace = io.MultiWriter(&trace, given.trace)
		}
	}
	world, err := host.NewWorld(module, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, world.Close()) }()
	p = &player{world: world, streams: map[string]*host.Stream{}}
	for i, s := range f.Steps {
		given.tell("%s: step %d of %d", path, i+1, len(f.Steps))
		p.place = fmt.Sprintf("%s:%d: %s", path, f.lines[i], s)
		stream, err := p.try(s)
		if err != nil {
			p.expect(false, "%v", err)
			return p, nil
		}
		world.Run()
		if s.Want != nil {
			if s.Want.Stream != "" {
				stream = p.streams[s.Want.Stream]
			}
			p.compare(s.Want, stream)
		}
	}
	if f.Trace == "" {
		return p, nil
	}
	golden := within(filepath.Dir(path), f.Trace)
	if given.update {
		return p, os.WriteFile(golden, []byte(trace.String()), 0o666)
	}
	want, err := os.ReadFile(golden)
	p.sameTrace(golden, trace.String(), string(want))
	return p, err
}

// sameTrace compares a trace with the golden file, and shows the first line that differs.
func (p *player) sameTrace(golden, got, want string) {
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	line := 0
	for line < min(len(gotLines), len(wantLines))-1 && gotLines[line] == wantLines[line] {
		line++
	}
	p.place = fmt.Sprintf("%s:%d", golden, line+1)
	p.expect(got == want, "trace, of %d lines and not %d; run -update writes it:\n\tgot  %s\n\twant %s",
		len(gotLines)-1, len(wantLines)-1, gotLines[line], wantLines[line])
}

// mostDots is how many dots of a property's path may be inside of its parts.
const mostDots = 10

// setProperty sets a property whose path has dots between its parts. A part may have dots in it,
// like "envoy.filters.http.lua": so every way to part the path is meant.
func setProperty(properties map[string][]byte, path, value string) {
	parts := strings.Split(path, ".")
	paths := parts[:1:1]
	for i, part := range parts[1:] {
		for _, before := range slices.Clone(paths) {
			if i < mostDots {
				paths = append(paths, before+"."+part)
			}
		}
		for j := range paths {
			if i >= mostDots || j < len(paths)/2 {
				paths[j] += "\x00" + part
			}
		}
	}
	for _, p := range paths {
		properties[p] = []byte(value)
	}
}

// ServeHTTP implements [http.Handler].
func (a answer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for name, value := range a.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(cmp.Or(a.Status, http.StatusOK))
	io.WriteString(w, a.Body)
}

// String names a step.
func (s step) String() string {
	switch {
	case s.Open != nil:
		return "open " + s.Open.Stream
	case s.Respond != nil:
		return "respond to " + s.Respond.Stream
	case s.Send != nil:
		return "send to " + s.Send.Stream
	case s.Close != "":
		return "close " + s.Close
	case s.Advance > 0:
		return "advance " + time.Duration(s.Advance).String()
	}
	return "want"
}

// try does a step. What cannot happen is an error, for example a body before its headers.
func (p *player) try(s step) (stream *host.Stream, err error) {
	if target := cmp.Or(s.Respond.stream(), s.Send.stream()); target != "" && p.streams[target].Ended() {
		return nil, fmt.Errorf("the stream has ended before: %v", p.streams[target].Ending())
	}
	defer func() {
		if r := recover(); r != nil {
			text, ok := r.(string)
			if !ok || !strings.HasPrefix(text, "host: ") {
				panic(r)
			}
			err = errors.New(strings.TrimPrefix(text, "host: "))
		}
	}()
	if s.Interrupt == nil {
		return p.do(s), nil
	}
	interrupted := false
	p.world.Intercept(func(c *host.Call) {
		if c.Worker == s.Open.Worker && c.Name == s.Interrupt.Before {
			p.world.Intercept(nil) // once
			interrupted = true
			p.do(step{Open: s.Interrupt.Open})
		}
	})
	stream = p.do(s)
	p.world.Intercept(nil)
	if !interrupted {
		return stream, fmt.Errorf("the filter has not called %s", s.Interrupt.Before)
	}
	return stream, nil
}

// do makes the step's thing happen, and returns the stream that it is about.
func (p *player) do(s step) *host.Stream {
	switch {
	case s.Open != nil:
		o := s.Open
		request := host.Request(cmp.Or(o.Method, http.MethodGet), cmp.Or(o.Path, "/"), pairs(o.Headers)...)
		stream := p.world.Worker(o.Worker).Open(request)
		p.streams[o.Stream] = stream
		stream.RequestHeaders(o.Body == "")
		if o.Body != "" {
			stream.RequestBody([]byte(o.Body), true)
		}
		return stream
	case s.Respond != nil:
		r := s.Respond
		stream := p.streams[r.Stream]
		stream.ResponseHeaders(host.Response(cmp.Or(r.Status, http.StatusOK), pairs(r.Headers)...), r.Body == "" && !r.Open)
		if r.Body != "" {
			stream.ResponseBody([]byte(r.Body), !r.Open)
		}
		return stream
	case s.Send != nil:
		stream := p.streams[s.Send.Stream]
		stream.ResponseBody([]byte(s.Send.Body), s.Send.End)
		return stream
	case s.Close != "":
		stream := p.streams[s.Close]
		stream.End()
		return stream
	case s.Advance > 0:
		p.world.Advance(time.Duration(s.Advance))
	}
	return nil
}

// pairs returns names and values in turn, in the order of the names.
func pairs(headers map[string]string) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		out = append(out, name, headers[name])
	}
	return out
}

func (p *player) compare(w *want, stream *host.Stream) {
	if stream == nil && (w.Upstream != nil || w.Client != nil || w.Ending != "") {
		p.expect(false, "want says nothing of which stream: name one")
		return
	}
	if w.Upstream != nil {
		p.message("upstream", w.Upstream, stream.ToUpstream())
	}
	if w.Client != nil {
		got := stream.ToClient()
		if r := stream.LocalReply(); r != nil && got.Headers == nil {
			got = host.Message{Headers: r.Headers, Body: r.Body}
		}
		p.message("client", w.Client, got)
	}
	if w.Ending != "" {
		p.equal("ending", stream.Ending().String(), w.Ending)
	}
	for _, text := range w.Log {
		p.expect(len(p.world.Logs().Containing(text)) > 0, "log: no line has %q; it is\n%s", text, p.world.Logs())
	}
	for _, text := range w.NoLog {
		found := p.world.Logs().Containing(text)
		p.expect(len(found) == 0, "log: want no line with %q, got\n%s", text, found)
	}
	shared := p.world.SharedData()
	for _, key := range slices.Sorted(maps.Keys(w.Shared)) {
		got, ok := shared[key]
		p.optional("shared data "+strconv.Quote(key), string(got.Bytes), ok, w.Shared[key])
	}
	metrics := p.world.Metrics()
	for _, name := range slices.Sorted(maps.Keys(w.Metrics)) {
		got, ok := metrics.Counters[name]
		if !ok {
			got, ok = metrics.Gauges[name]
		}
		p.expect(ok && got == w.Metrics[name], "metric %s: got %d (defined: %v), want %d", name, got, ok, w.Metrics[name])
	}
}

func (p *player) message(side string, want *message, got host.Message) {
	if want.None {
		p.expect(got.Headers == nil, "%s: got %v, want nothing", side, got.Headers)
		return
	}
	if want.Status != 0 {
		status, _ := got.Headers.Get(":status")
		p.equal(side+" status", status, strconv.Itoa(want.Status))
	}
	for _, name := range slices.Sorted(maps.Keys(want.Headers)) {
		value, ok := got.Headers.Get(strings.ToLower(name))
		p.optional(side+" header "+name, value, ok, want.Headers[name])
	}
	if want.Body != nil {
		p.equal(side+" body", string(got.Body), *want.Body)
	}
}

func (p *player) optional(what, got string, ok bool, want *string) {
	switch {
	case want == nil:
		p.expect(!ok, "%s: got %q, want none", what, got)
	case !ok:
		p.expect(false, "%s: there is none, want %q", what, *want)
	default:
		p.equal(what, got, *want)
	}
}

func (p *player) equal(what, got, want string) {
	p.expect(got == want, "%s:\n\tgot  %q\n\twant %q", what, got, want)
}

func (p *player) expect(ok bool, format string, arguments ...any) {
	p.checked++
	if !ok {
		p.faults = append(p.faults, p.place+": "+fmt.Sprintf(format, arguments...))
	}
}
