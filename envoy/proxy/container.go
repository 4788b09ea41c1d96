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

	"github.com/streamlatch/streamlatch/envoy/container"
)

// A Container is an Envoy in an image, run by this machine's container engine: see [FindImage].
type Container struct {
	Engine container.Engine
	Image  string // the engine has it
}

// Label returns the label, key=value, of the containers that this program starts: their engine can list them by it.
func Label() string { return "streamlatch.program=" + strconv.Itoa(os.Getpid()) }

func (c Container) String() string { return c.Image }

func (c Container) question(args []string) job { return c.run([]string{"--network", "none"}, args) }

func (c Container) job(dir string, args []string) job {
	if dir == "" {
		dir = "."
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		dir = "/" // there is no current directory, so nothing can be meant by a path in it
	}
	options := []string{
		"--network", "host", // its ports are this machine's, and no network of its own can be left behind
		// Root in the container is this user if the engine is rootless: who can read this program's files. The images
		// of the Envoy project would else become a user that cannot.
		"--user", "0:0",
		"--security-opt", "label=disable", // SELinux would keep the files from it
		"--workdir", dir,
	}
	for _, shared := range distinct(os.TempDir(), dir) {
		options = append(options, "--volume", shared+":"+shared)
	}
	return c.run(options, args)
}

// runAndRemove runs a container, passes SIGTERM on to it, and removes what it leaves.
//
//go:embed container.sh
var runAndRemove string

// removeLimit bounds the removal of a container that did not end in good order.
const removeLimit = 20 * time.Second

// run prepares a container: options are the engine's, args Envoy's.
func (c Container) run(options, args []string) job {
	name := "streamlatch-envoy-" + strings.ToLower(rand.Text())
	call := []string{"-c", runAndRemove, "sh", c.Engine.String(), name,
		"run", "--rm", "--pull", "never", "--name", name, "--label", Label(),
		"--log-driver", "none", // its output comes through this command, and is kept nowhere else
		// To the first process of a namespace no signal comes that it has no handler for, and Envoy has one for SIGTERM
		// only when it serves: one that is still compiling the filter would not hear it, and go on for ever.
		"--pid", "host",
		"--entrypoint", "envoy",
	}
	call = append(append(call, options...), c.Image)
	cmd := exec.Command("/bin/sh", append(call, args...)...)
	cmd.SysProcAttr = signalledWithParent(syscall.SIGTERM)
	return job{cmd: cmd, kill: func() {
		killGroup(cmd) // first: what is not there yet could not be removed
		ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
		defer cancel()
		c.Engine.Remove(ctx, name)
	}}
}

// notRun returns why a container did not come to run, where that is known: its runtime tells it at length.
func notRun(stderr string) error {
	switch {
	case strings.Contains(stderr, "executable file") && strings.Contains(stderr, "not found in $PATH"):
		return errors.New("it has no envoy")
	case strings.Contains(stderr, "setting rlimit"):
		return errors.New("its engine wants higher limits for it than there may be: set lower default_ulimits, nofile and nproc, in containers.conf")
	}
	return nil
}

// distinct returns two directories, or one if the other is in it.
func distinct(a, b string) []string {
	if rel, err := filepath.Rel(a, b); err == nil && filepath.IsLocal(rel) {
		return []string{a}
	}
	return []string{a, b}
}
