package envoy

import (
	"encoding/json"
	"errors"
	"fmt"
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
	if err := s.check(); err != nil {
		return "", fmt.Errorf("render envoy.yaml: %w", err)
	}
	changes := []struct{ old, new string }{
		{"port_value: 10000}", fmt.Sprintf("port_value: %d}", s.Listener)},
		{"port_value: 10001}", fmt.Sprintf("port_value: %d}", s.Internal)},
		{"port_value: 9901}", fmt.Sprintf("port_value: %d}", s.Admin)},
		{"port_value: 8080}", fmt.Sprintf("port_value: %d}", s.Backend)},
	}
	if s.Wasm != "" {
		changes = append(changes, struct{ old, new string }{"filename: build/streamlatch.wasm\n", "filename: " + yamlString(s.Wasm) + "\n"})
	}
	if s.Filter != "" {
		shipped, err := filterBlock(config)
		if err != nil {
			return "", fmt.Errorf("render envoy.yaml: %w", err)
		}
		changes = append(changes, struct{ old, new string }{shipped, "value: " + yamlString(s.Filter) + "\n"})
	}

	// Each value is looked for in the shipped text, not in what the changes before it have made of it: a port may well
	// be set to another one's shipped number.
	pairs := make([]string, 0, 2*len(changes))
	for _, c := range changes {
		if n := strings.Count(config, c.old); n != 1 {
			return "", fmt.Errorf("render envoy.yaml: %q stands in it %d times, want once", c.old, n)
		}
		pairs = append(pairs, c.old, c.new)
	}
	return strings.NewReplacer(pairs...).Replace(config), nil
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
