// Package etcd finds and runs a real etcd of one node on this machine, for `make run-fleet` and for
// the tests of a fleet.
package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/streamlatch/streamlatch/envoy/child"
	"github.com/streamlatch/streamlatch/envoy/container"
)

// Variable is the environment variable that names an etcd.
const Variable = "ETCD"

const (
	// oldestMajor and oldestMinor are the first version that a fleet can use.
	oldestMajor, oldestMinor = 3, 4
	// queryLimit bounds etcd --version, which takes a tenth of a second.
	queryLimit = 20 * time.Second
)

// Find returns the path and the version of the etcd that $ETCD names, or else of the etcd on PATH.
// An error is one sentence that says what the user can do.
func Find(ctx context.Context) (path, version string, err error) {
	name := os.Getenv(Variable)
	path, err = exec.LookPath(cmp.Or(name, "etcd"))
	if name == "" && errors.Is(err, exec.ErrNotFound) {
		return "", "", fmt.Errorf("found no etcd on PATH: install Debian's package etcd-server, or set %s to the path of an etcd %s or newer", Variable, oldest())
	}
	if err != nil {
		err = container.Reason(err)
	} else {
		version, err = versionOf(ctx, path)
	}
	if err != nil {
		return "", "", fmt.Errorf("cannot use the etcd %q: %w; set %s to the path of an etcd %s or newer", cmp.Or(name, path), err, Variable, oldest())
	}
	return path, version, nil
}

func oldest() string { return fmt.Sprintf("%d.%d", oldestMajor, oldestMinor) }

// versionText is the first line of what etcd --version prints.
var versionText = regexp.MustCompile(`(?m)^etcd Version: ((\d+)\.(\d+)\.\d\S*)`)

// versionOf returns the version of an etcd that a fleet can use.
func versionOf(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	output, err := child.Output(cmd)
	if err != nil {
		return "", fmt.Errorf("etcd --version: %w", cmp.Or(context.Cause(ctx), err))
	}
	m := versionText.FindStringSubmatch(string(output))
	if m == nil {
		return "", fmt.Errorf("etcd --version printed %.100q, want the version of an etcd", output)
	}
	major, _ := strconv.Atoi(m[2])
	minor, _ := strconv.Atoi(m[3])
	if cmp.Or(cmp.Compare(major, oldestMajor), cmp.Compare(minor, oldestMinor)) < 0 {
		return "", fmt.Errorf("its version is %s, and a fleet needs %s or newer", m[1], oldest())
	}
	return m[1], nil
}
