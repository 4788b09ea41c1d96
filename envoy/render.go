package envoy

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Settings are the values that [Render] puts into the shipped configuration.
//
// For the first three ports 0 means that the system chooses a free one. Package proxy tells which:
// see its Admin.Listeners and Process.Admin.
type Settings struct {
	Listener int    // port of the listener for clients
	Internal int    // port of the listener for the filter's admin path
	Admin    int    // port of Envoy's admin interface
	Backend  int    // port of the backend on 127.0.0.1; required
	Etcd     int    // port of etcd on 127.0.0.1; required by [RenderFleet], and 0 for all others
	Wasm     string // path of the filter; "" keeps build/streamlatch.wasm
	Filter   string // configuration of the filter, as JSON; "" keeps the shipped one
}

// Render returns [Config] with the settings in place of the shipped values.
//
// It returns an error for a port that is out of range. It also returns one if the shipped file does
// not contain each value exactly once: otherwise an edit of envoy.yaml could leave a test on the
// shipped port without notice.
func Render(s Settings) (string, error) { return render(Config, s) }

func render(config string, s Settings) (string, error) {
	return renderFile("envoy.yaml", config, s, s.check())
}

// RenderFleet returns [FleetConfig] with the settings in place of the shipped values. The errors
// are those of [Render].
func RenderFleet(s Settings) (string, error) {
	port := s.Etcd
	err := checkPort("etcd", port, 1)
	s.Etcd = 0
	return renderFile("fleet/envoy.yaml", FleetConfig, s, errors.Join(s.check(), err),
		replacement{"port_value: 2379}", fmt.Sprintf("port_value: %d}", port)})
}

// renderFile renders a file that has every listener, unless fault says that the settings are
// wrong.
func renderFile(name, config string, s Settings, fault error, more ...replacement) (string, error) {
	if fault != nil {
		return "", fmt.Errorf("render %s: %w", name, fault)
	}
	replacements := append(s.ports(), replacement{"port_value: 10001}", fmt.Sprintf("port_value: %d}", s.Internal)})
	replacements = append(replacements, more...)
	filter, err := s.filter(config)
	if err != nil {
		return "", fmt.Errorf("render %s: %w", name, err)
	}
	return replace(name, config, append(replacements, filter...))
}

// RenderECDS returns [ECDSConfig] and [ECDSFilter] with the settings in place of the shipped
// values. The configuration makes Envoy watch path, where the caller writes the filter; "" keeps
// the shipped envoy/ecds/streamlatch.yaml. Settings.Internal must be 0, because these files have no
// listener for the admin path. The errors are those of [Render].
func RenderECDS(s Settings, path string) (config, filter string, err error) {
	return renderECDS(ECDSConfig, ECDSFilter, s, path)
}

func renderECDS(config, filter string, s Settings, path string) (string, string, error) {
	const name, filterName = "envoy-ecds.yaml", "ecds/streamlatch.yaml"
	err := s.check()
	if err == nil && s.Internal != 0 {
		err = fmt.Errorf("internal port %d, want 0: the file has no internal listener", s.Internal)
	}
	if err != nil {
		return "", "", fmt.Errorf("render %s: %w", name, err)
	}
	replacements := s.ports()
	if path != "" {
		replacements = append(replacements,
			replacement{"path: envoy/ecds/streamlatch.yaml\n", "path: " + yamlString(path) + "\n"},
			replacement{"{path: envoy/ecds}\n", "{path: " + yamlString(filepath.Dir(path)) + "}\n"})
	}
	if config, err = replace(name, config, replacements); err != nil {
		return "", "", err
	}
	replacements, err = s.filter(filter)
	if err != nil {
		return "", "", fmt.Errorf("render %s: %w", filterName, err)
	}
	if filter, err = replace(filterName, filter, replacements); err != nil {
		return "", "", err
	}
	return config, filter, nil
}

// A replacement says what takes the place of a shipped text.
type replacement struct{ old, new string }

// ports returns the replacements for the ports that every configuration has.
func (s Settings) ports() []replacement {
	return []replacement{
		{"port_value: 10000}", fmt.Sprintf("port_value: %d}", s.Listener)},
		{"port_value: 9901}", fmt.Sprintf("port_value: %d}", s.Admin)},
		{"port_value: 8080}", fmt.Sprintf("port_value: %d}", s.Backend)},
	}
}

// filter returns the replacements for the filter that a file configures.
func (s Settings) filter(file string) ([]replacement, error) {
	var replacements []replacement
	if s.Wasm != "" {
		replacements = append(replacements, replacement{"filename: build/streamlatch.wasm\n", "filename: " + yamlString(s.Wasm) + "\n"})
	}
	if s.Filter != "" {
		shipped, err := filterBlock(file)
		if err != nil {
			return nil, err
		}
		replacements = append(replacements, replacement{shipped, "value: " + yamlString(s.Filter) + "\n"})
	}
	return replacements, nil
}

// replace applies the replacements to a file. It searches for each old text in the shipped file,
// not in the result of earlier replacements, because a new port may equal another shipped port.
func replace(name, file string, replacements []replacement) (string, error) {
	pairs := make([]string, 0, 2*len(replacements))
	for _, r := range replacements {
		if n := strings.Count(file, r.old); n != 1 {
			return "", fmt.Errorf("render %s: found %q %d times, want once", name, r.old, n)
		}
		pairs = append(pairs, r.old, r.new)
	}
	return strings.NewReplacer(pairs...).Replace(file), nil
}

func (s Settings) check() error {
	errs := []error{
		checkPort("listener", s.Listener, 0), checkPort("internal", s.Internal, 0),
		checkPort("admin", s.Admin, 0), checkPort("backend", s.Backend, 1),
	}
	if s.Etcd != 0 {
		errs = append(errs, fmt.Errorf("etcd port %d, want 0: the file has no etcd", s.Etcd))
	}
	return errors.Join(errs...)
}

func checkPort(name string, port, least int) error {
	if port < least || port > 65535 {
		return fmt.Errorf("%s port %d, want %d to 65535", name, port, least)
	}
	return nil
}

// filterBlock returns the text of the filter's configuration: the line "value: |" and the lines
// after it that are indented deeper.
func filterBlock(config string) (string, error) {
	const key = "value: |\n"
	before, after, _ := strings.Cut(config, key)
	if n := strings.Count(config, key); n != 1 {
		return "", fmt.Errorf("found %q %d times, want once", key, n)
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

// yamlString returns s as a YAML string: every JSON string is one.
func yamlString(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("envoy: encode a string: %v", err)) // json.Marshal encodes every string
	}
	return string(quoted)
}
