package proxy

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/streamlatch/streamlatch/envoy/child"
	"github.com/streamlatch/streamlatch/envoy/container"
)

// A Container is an Envoy in an image, which a container engine runs: see [FindImage].
type Container struct {
	Engine container.Engine
	Image  string // already on this machine: nothing is pulled
}

// Label returns the label, as key=value, of the containers that this program starts. The engine can
// list the containers with a label.
func Label() string { return "streamlatch.program=" + strconv.Itoa(os.Getpid()) }

func (c Container) String() string { return c.Image }

func (c Container) queryCommand(args []string) command {
	return c.runCommand([]string{"--network", "none"}, args)
}

func (c Container) serverCommand(dir string, args []string) command {
	if dir == "" {
		dir = "."
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		dir = "/" // there is no current directory, so relative paths mean nothing
	}
	options := []string{
		"--network", "host", // Envoy binds this machine's ports, and no container network is left behind
		// With a rootless engine, root in the container is the user of this program and can read
		// its files. Without this option an image of the Envoy project may choose a user who
		// cannot.
		"--user", "0:0",
		"--security-opt", "label=disable", // otherwise SELinux denies access to the shared directories
		"--workdir", dir,
	}
	for _, shared := range sharedDirectories(os.TempDir(), dir) {
		options = append(options, "--volume", shared+":"+shared)
	}
	return c.runCommand(options, args)
}

// runAndRemove is a shell script that runs a container, passes SIGTERM on to it, and removes it
// whatever happens.
//
//go:embed container.sh
var runAndRemove string

// removeLimit bounds the removal of a container that was killed.
const removeLimit = 20 * time.Second

// runCommand prepares a container. The options are for the engine, the args for Envoy.
func (c Container) runCommand(options, args []string) command {
	name := "streamlatch-envoy-" + strings.ToLower(rand.Text())
	call := []string{"-c", runAndRemove, "sh", c.Engine.String(), name,
		"run", "--rm", "--pull", "never", "--name", name, "--label", Label(),
		"--log-driver", "none", // this command writes the output, so the engine need not keep it
		// The kernel drops a signal to the first process of a PID namespace unless the process has
		// a handler for it. Envoy installs its handler for SIGTERM when it serves, so SIGTERM would
		// not end an Envoy that is still compiling the filter.
		"--pid", "host",
		"--entrypoint", "envoy",
	}
	call = append(append(call, options...), c.Image)
	cmd := exec.Command("/bin/sh", append(call, args...)...)
	child.EndWithParent(cmd, syscall.SIGTERM)
	return command{cmd: cmd, kill: func() {
		child.KillGroup(cmd) // first, or the engine could create the container after the removal
		ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
		defer cancel()
		c.Engine.Remove(ctx, name)
	}}
}

// startFailure returns a short reason why a container did not start, or nil if stderr has none that
// is known. The engine's own message is several lines long.
func startFailure(stderr string) error {
	switch {
	case strings.Contains(stderr, "executable file") && strings.Contains(stderr, "not found in $PATH"):
		return errors.New("the image has no envoy")
	case strings.Contains(stderr, "setting rlimit"):
		return errors.New("the container engine sets limits that are above this user's: set lower default_ulimits, nofile and nproc, in containers.conf")
	}
	return nil
}

// sharedDirectories returns both directories, or only temporary if it contains dir.
func sharedDirectories(temporary, dir string) []string {
	if rel, err := filepath.Rel(temporary, dir); err == nil && filepath.IsLocal(rel) {
		return []string{temporary}
	}
	return []string{temporary, dir}
}
