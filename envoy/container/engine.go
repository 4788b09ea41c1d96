// Package container runs the container engine of this machine, docker or podman. It uses the
// command line, because the two programs share the commands and options that are needed here.
package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Variable is the environment variable that names the engine. Without it [Find] looks for one.
const Variable = "CONTAINER_ENGINE"

// An Engine is a docker or podman that this user can use: see [Find].
type Engine struct {
	path   string
	podman bool // also true for a program named docker that is podman
}

// Find returns the engine that CONTAINER_ENGINE names. If that is not set, it returns docker or
// else podman, if the program is on PATH and this user can use it. An error is one sentence that
// says what the user can do.
func Find(ctx context.Context) (Engine, error) {
	if name := os.Getenv(Variable); name != "" {
		e, err := open(ctx, name)
		if err != nil {
			return Engine{}, fmt.Errorf("%s is %q, which cannot be used: %w", Variable, name, err)
		}
		return e, nil
	}
	var reasons []string
	missing := 0
	for _, name := range []string{"docker", "podman"} {
		e, err := open(ctx, name)
		switch {
		case err == nil:
			return e, nil
		case ctx.Err() != nil:
			return Engine{}, fmt.Errorf("look for a container engine: %w", context.Cause(ctx))
		case errors.Is(err, exec.ErrNotFound):
			missing++
			reasons = append(reasons, name+" is not on PATH")
		default:
			reasons = append(reasons, fmt.Sprintf("%s cannot be used: %v", name, err))
		}
	}
	if missing == len(reasons) {
		return Engine{}, fmt.Errorf("found neither docker nor podman: install one of them (Debian: podman and runc), or name an engine in %s", Variable)
	}
	return Engine{}, errors.New(strings.Join(reasons, "; "))
}

const (
	// openLimit bounds the check that an engine works, which normally takes a quarter of a second.
	openLimit = 30 * time.Second
	// endLimit is the time from SIGTERM to SIGKILL for a call of the engine.
	endLimit = 5 * time.Second
)

// versionText matches the start of what docker, podman and compatible engines print as their
// version.
var versionText = regexp.MustCompile(`^\w+ version `)

func open(ctx context.Context, name string) (Engine, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return Engine{}, Reason(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, openLimit, fmt.Errorf("it has not answered for %v", openLimit))
	defer cancel()
	e := Engine{path: path}
	version, err := e.Output(ctx, "--version")
	if err != nil {
		return Engine{}, err
	}
	if !versionText.MatchString(version) {
		return Engine{}, fmt.Errorf("%.60q is not how a container engine tells its version", version)
	}
	e.podman = strings.Contains(version, "podman")
	if _, err := e.Output(ctx, "ps", "--quiet"); err != nil { // a cheap command that needs the daemon
		return Engine{}, advise(err)
	}
	return e, nil
}

// Reason returns the cause in an error of [exec.LookPath], without the name of the program, for a
// message that already names it.
func Reason(err error) error {
	if lookup := (*exec.Error)(nil); errors.As(err, &lookup) {
		err = lookup.Err
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return err
}

// advise replaces an error of the engine by one that says what to do, if that is known.
func advise(err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "permission denied"):
		return errors.New("this user may not talk to it: run as one who may (docker: of the group docker), or use rootless podman")
	case strings.Contains(text, "Cannot connect to the Docker daemon"), strings.Contains(text, "failed to connect to the docker API"):
		return errors.New("its daemon does not answer: start it")
	}
	return err
}

// String returns the path of the engine's program.
func (e Engine) String() string { return e.path }

// Command returns a call of the engine, not yet started.
func (e Engine) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, e.path, args...)
}

// Output calls the engine and returns its standard output without surrounding space. If the call
// fails, the error is the engine's own message: see [Complaint]. If ctx ends, the engine gets
// SIGTERM and, five seconds later, SIGKILL; the error is then the cause of ctx.
func (e Engine) Output(ctx context.Context, args ...string) (string, error) {
	cmd := e.Command(ctx, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endLimit
	return answer(ctx, cmd)
}

// answer is Output for a command that the caller has prepared: its Cancel and WaitDelay say what
// happens when ctx ends.
func answer(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err == nil {
		return strings.TrimSpace(string(stdout)), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if complaint := Complaint(stderr.String()); complaint != "" {
		err = errors.New(complaint)
	}
	return "", err
}

// Complaint returns the line of stderr that says why an engine, or the program in a container,
// failed: the last line that does not just refer to the manual.
func Complaint(stderr string) string {
	complaint := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "See '") && !strings.HasPrefix(line, "Run '") {
			complaint = line
		}
	}
	for _, prefix := range []string{"docker: ", "Error: ", "ERROR: ", "Error response from daemon: "} {
		complaint = strings.TrimPrefix(complaint, prefix)
	}
	return complaint
}

// Has reports whether an image is on this machine.
func (e Engine) Has(ctx context.Context, image string) bool {
	_, err := e.Output(ctx, "image", "inspect", "--", image)
	return err == nil
}

// Pull gets an image from its registry.
func (e Engine) Pull(ctx context.Context, image string) error {
	_, err := e.Output(ctx, "pull", "--quiet", "--", image)
	return err
}

// Remove kills and removes a container. It returns nil if there is no such container.
func (e Engine) Remove(ctx context.Context, name string) error {
	// podman's rm would first send SIGTERM and wait ten seconds. An error does not matter: rm fails
	// too.
	e.Output(ctx, "kill", name)
	_, err := e.Output(ctx, "rm", "--force", "--volumes", name)
	if err != nil && strings.Contains(strings.ToLower(err.Error()), "no such container") {
		return nil
	}
	return err
}
