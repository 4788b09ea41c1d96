package envoy

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Settings is what [Render] changes in the shipped configuration.
type Settings struct {
	Listener int    // port; 0 lets the system choose one: see [Admin.Listeners]
	Internal int    // port of the listener that has the filter's admin path; 0 as above
	Admin    int    // port; 0 lets the system choose one: see [Process.Admin]
	Backend  int    // port of the backend on 127.0.0.1; required
	Wasm     string // path of the filter; "" keeps the shipped build/streamlatch.wasm
	Filter   string // the filter's configuration, JSON; "" keeps the shipped one
}

// Render returns [Config] with the settings in place of the shipped values. It returns an error for a setting that no
// configuration can have, and if the shipped file does not hold each value exactly once, so that an edit of envoy.yaml
// cannot quietly leave a test with the shipped port.
func Render(s Settings) (string, error) { return render(Config, s) }

func render(config string, s Settings) (string, error) {
	const name = "envoy.yaml"
	if err := s.check(); err != nil {
		return "", fmt.Errorf("render %s: %w", name, err)
	}
	changes := append(s.ports(), change{"port_value: 10001}", fmt.Sprintf("port_value: %d}", s.Internal)})
	more, err := s.filter(config)
	if err != nil {
		return "", fmt.Errorf("render %s: %w", name, err)
	}
	return apply(name, config, append(changes, more...))
}

// RenderECDS returns [ECDSConfig], following the file path ("" keeps the shipped ecds/streamlatch.yaml), and what is to
// be in that file, [ECDSFilter]: with the settings in place of the shipped values, and errors as of [Render]. The
// listener that Settings.Internal is about is not in it, so that must be 0.
func RenderECDS(s Settings, path string) (config, filter string, err error) {
	return renderECDS(ECDSConfig, ECDSFilter, s, path)
}

func renderECDS(config, filter string, s Settings, path string) (string, string, error) {
	const name, filterName = "envoy-ecds.yaml", "ecds/streamlatch.yaml"
	err := s.check()
	if err == nil && s.Internal != 0 {
		err = fmt.Errorf("internal port %d, want 0: it has no such listener", s.Internal)
	}
	if err != nil {
		return "", "", fmt.Errorf("render %s: %w", name, err)
	}
	changes := s.ports()
	if path != "" {
		changes = append(changes,
			change{"path: envoy/ecds/streamlatch.yaml\n", "path: " + yamlString(path) + "\n"},
			change{"{path: envoy/ecds}\n", "{path: " + yamlString(filepath.Dir(path)) + "}\n"})
	}
	if config, err = apply(name, config, changes); err != nil {
		return "", "", err
	}
	changes, err = s.filter(filter)
	if err != nil {
		return "", "", fmt.Errorf("render %s: %w", filterName, err)
	}
	if filter, err = apply(filterName, filter, changes); err != nil {
		return "", "", err
	}
	return config, filter, nil
}

// A change puts a text in the place of a shipped one.
type change struct{ old, new string }

// ports are the changes that every configuration has a place for.
func (s Settings) ports() []change {
	return []change{
		{"port_value: 10000}", fmt.Sprintf("port_value: %d}", s.Listener)},
		{"port_value: 9901}", fmt.Sprintf("port_value: %d}", s.Admin)},
		{"port_value: 8080}", fmt.Sprintf("port_value: %d}", s.Backend)},
	}
}

// filter are the changes to the filter that stands in a file.
func (s Settings) filter(file string) ([]change, error) {
	var changes []change
	if s.Wasm != "" {
		changes = append(changes, change{"filename: build/streamlatch.wasm\n", "filename: " + yamlString(s.Wasm) + "\n"})
	}
	if s.Filter != "" {
		shipped, err := filterBlock(file)
		if err != nil {
			return nil, err
		}
		changes = append(changes, change{shipped, "value: " + yamlString(s.Filter) + "\n"})
	}
	return changes, nil
}

// apply makes the changes. Each value is looked for in the shipped text, not in what the changes before it have made of
// it: a port may well be set to another one's shipped number.
func apply(name, file string, changes []change) (string, error) {
	pairs := make([]string, 0, 2*len(changes))
	for _, c := range changes {
		if n := strings.Count(file, c.old); n != 1 {
			return "", fmt.Errorf("render %s: %q stands in it %d times, want once", name, c.old, n)
		}
		pairs = append(pairs, c.old, c.new)
	}
	return strings.NewReplacer(pairs...).Replace(file), nil
}

func (s Settings) check() error {
	var errs []error
	for _, p := range []struct {
		name      string
		port, min int
	}{{"listener", s.Listener, 0}, {"internal", s.Internal, 0}, {"admin", s.Admin, 0}, {"backend", s.Backend, 1}} {
		if p.port < p.min || p.port > 65535 {
			errs = append(errs, fmt.Errorf("%s port %d, want %d to 65535", p.name, p.port, p.min))
		}
	}
	return errors.Join(errs...)
}

// filterBlock returns the text of the filter's configuration: the line with "value:", and the deeper lines after it.
func filterBlock(config string) (string, error) {
	const key = "value: |\n"
	before, after, _ := strings.Cut(config, key)
	if n := strings.Count(config, key); n != 1 {
		return "", fmt.Errorf("%q stands in it %d times, want once", key, n)
	}
	depth := len(before) - (strings.LastIndex(before, "\n") + 1)
	block := key
	for line := range strings.Lines(after) {
		if len(line)-len(strings.TrimLeft(line, " ")) <= depth {
			break
		}
		block += line
	}
	return block, nil
}

// yamlString returns s as YAML, whatever is in it: a JSON string is a YAML string.
func yamlString(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("envoy: a string does not encode: %v", err)) // json.Marshal has no such case
	}
	return string(quoted)
}
