package proxy

import (
	"context"
	"crypto/rand"
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

func (c Container) question(ctx context.Context, args ...string) *exec.Cmd {
	run := []string{"run", "--rm", "--pull", "never", "--label", Label(), "--network", "none", "--entrypoint", "envoy", c.Image}
	return c.Engine.Command(ctx, append(run, args...)...)
}

// removeLimit bounds the removal of a container that did not end in good order.
const removeLimit = 20 * time.Second

func (c Container) job(dir string, args []string) job {
	if dir == "" {
		dir = "."
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		dir = "/" // there is no current directory, so nothing can be meant by a path in it
	}
	name := "streamlatch-envoy-" + strings.ToLower(rand.Text())
	run := []string{"run", "--rm", "--pull", "never", "--name", name, "--label", Label(),
		"--network", "host", // its ports are this machine's, and no network of its own can be left behind
		"--log-driver", "none", // its output comes through this command, and is kept nowhere else
		"--entrypoint", "envoy",
		// Root in the container is this user if the engine is rootless: who can read this program's files. The images
		// of the Envoy project would else become a user that cannot.
		"--user", "0:0",
		"--security-opt", "label=disable", // SELinux would keep the files from it
		"--workdir", dir,
	}
	for _, shared := range distinct(os.TempDir(), dir) {
		run = append(run, "--volume", shared+":"+shared)
	}
	run = append(append(run, c.Image), args...)
	cmd := c.Engine.Command(context.Background(), run...)
	// The engine passes a SIGTERM on to Envoy, and SIGKILL it could not.
	cmd.SysProcAttr = signalledWithParent(syscall.SIGTERM)
	return job{cmd: cmd, kill: func() {
		ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
		defer cancel()
		c.Engine.Remove(ctx, name)
		cmd.Process.Kill()
	}}
}

// distinct returns two directories, or one if the other is in it.
func distinct(a, b string) []string {
	if rel, err := filepath.Rel(a, b); err == nil && filepath.IsLocal(rel) {
		return []string{a}
	}
	return []string{a, b}
}
