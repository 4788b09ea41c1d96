// Package container runs the commands of this machine's container engine, docker or podman. It uses
// only commands that both engines have.
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

// Variable is the environment variable that names the engine to use.
const Variable = "CONTAINER_ENGINE"

// An Engine is a docker or a podman that works: see [Find].
type Engine struct {
	path string
}

// Find returns the engine that CONTAINER_ENGINE names. Without that variable it returns docker, or
// podman if docker is not on PATH or does not answer this user. The error is one sentence that says
// what to do.
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
	// openLimit is how long an engine may take to answer [Find]. A quarter of a second is usual.
	openLimit = 30 * time.Second
	// endLimit is the time between SIGTERM and SIGKILL for a call of the engine.
	endLimit = 5 * time.Second
)

// versionText is how the output of --version begins in docker, podman and nerdctl.
var versionText = regexp.MustCompile(`^\w+ version `)

func open(ctx context.Context, name string) (Engine, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return Engine{}, Reason(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, openLimit, fmt.Errorf("no answer within %v", openLimit))
	defer cancel()
	e := Engine{path: path}
	version, err := e.Output(ctx, "--version")
	if err != nil {
		return Engine{}, err
	}
	if !versionText.MatchString(version) {
		return Engine{}, fmt.Errorf("--version prints %.60q, want the version of a container engine", version)
	}
	if _, err := e.Output(ctx, "ps", "--quiet"); err != nil { // a cheap command that needs the daemon
		return Engine{}, advise(err)
	}
	return e, nil
}

// Reason returns the reason in an error of [exec.LookPath], without the program's name.
func Reason(err error) error {
	if lookup := (*exec.Error)(nil); errors.As(err, &lookup) {
		err = lookup.Err
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return err
}

// advise replaces an engine's complaint by what to do about it, if that is known.
func advise(err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "permission denied"):
		return errors.New("this user may not use it: join its group (docker: the group docker), or use rootless podman")
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

// Output calls the engine and returns what it prints, without surrounding space. If the call fails,
// the error is the engine's complaint. If ctx ends, the call gets SIGTERM, and SIGKILL after
// [endLimit].
func (e Engine) Output(ctx context.Context, args ...string) (string, error) {
	cmd := e.Command(ctx, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endLimit
	return answer(ctx, cmd)
}

// answer runs a call of the engine. The call's Cancel and WaitDelay say what the end of ctx does to
// it.
func answer(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err == nil {
		return strings.TrimSpace(string(output)), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if complaint := Complaint(stderr.String()); complaint != "" {
		err = errors.New(complaint)
	}
	return "", err
}

// Complaint returns the line in which an engine, or the program that it ran, says why it failed:
// the last line that does not merely point to the manual.
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

// Has reports whether the engine has the image.
func (e Engine) Has(ctx context.Context, image string) bool {
	_, err := e.Output(ctx, "image", "inspect", "--", image)
	return err == nil
}

// Pull downloads an image from its registry.
func (e Engine) Pull(ctx context.Context, image string) error {
	_, err := e.Output(ctx, "pull", "--quiet", "--", image)
	return err
}

// Remove ends and removes a container. It is no error if there is no such container.
func (e Engine) Remove(ctx context.Context, name string) error {
	// Without this, podman's rm sends SIGTERM and waits ten seconds. Only rm's error counts.
	e.Output(ctx, "kill", name)
	_, err := e.Output(ctx, "rm", "--force", "--volumes", name)
	if err != nil && strings.Contains(strings.ToLower(err.Error()), "no such container") {
		return nil
	}
	return err
}
