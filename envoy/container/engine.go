// Package container drives the container engine of this machine, docker or podman, by its command line, which is the
// same for all that is asked of it here.
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

// Variable is the environment variable that names the engine, if it should not be looked for.
const Variable = "CONTAINER_ENGINE"

// An Engine is a docker or a podman that can be used: see [Find].
type Engine struct {
	path   string
	podman bool // a docker that is podman by another name is podman
}

// Find returns the engine that CONTAINER_ENGINE names, or else the first of docker and podman that can be used: it is
// on PATH, and answers to this user. The error is one sentence that says what to do.
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
	// openLimit bounds the question whether an engine answers, which takes a quarter of a second.
	openLimit = 30 * time.Second
	// endLimit is what an engine that is told to end has for it.
	endLimit = 5 * time.Second
)

// versionText is how docker, podman and their kin begin to print their version.
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
	if _, err := e.Output(ctx, "ps", "--quiet"); err != nil { // the least that needs all of it, a daemon, too
		return Engine{}, advise(err)
	}
	return e, nil
}

// Reason returns why a program was not found, out of the error of [exec.LookPath]: without its name, for a sentence that
// has it already.
func Reason(err error) error {
	if lookup := (*exec.Error)(nil); errors.As(err, &lookup) {
		err = lookup.Err
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return err
}

// advise puts what to do into the place of an engine's complaint, where that is known.
func advise(err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "permission denied"):
		return errors.New("this user may not talk to it: run as one who may (docker: of the group docker), or use rootless podman")
	case strings.Contains(text, "Cannot connect to the Docker daemon"), strings.Contains(text, "failed to connect to the docker API"):
		return errors.New("its daemon does not answer: start it")
	}
	return err
}

// String returns the name by which the engine was found.
func (e Engine) String() string { return e.path }

// Command returns a call of the engine that has not begun.
func (e Engine) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, e.path, args...)
}

// Output calls the engine and returns what it prints, without space around. If it fails, the error is its complaint;
// if ctx ends, it is told to end, and killed if it does not.
func (e Engine) Output(ctx context.Context, args ...string) (string, error) {
	cmd := e.Command(ctx, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endLimit
	return answer(ctx, cmd)
}

// answer runs a call of the engine, whose Cancel and WaitDelay say what the end of ctx does to it.
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

// Complaint returns the line in which an engine, or what it has run, says why it failed: the last one that is not just
// advice to look into the manual.
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

// Has reports whether the engine has an image.
func (e Engine) Has(ctx context.Context, image string) bool {
	_, err := e.Output(ctx, "image", "inspect", "--", image)
	return err == nil
}

// Pull gets an image from its registry.
func (e Engine) Pull(ctx context.Context, image string) error {
	_, err := e.Output(ctx, "pull", "--quiet", "--", image)
	return err
}

// Remove ends a container, if it runs, and removes it, if it is there.
func (e Engine) Remove(ctx context.Context, name string) error {
	e.Output(ctx, "kill", name) // rm would have podman ask first, and wait ten seconds; no error counts but rm's
	_, err := e.Output(ctx, "rm", "--force", "--volumes", name)
	if err != nil && strings.Contains(strings.ToLower(err.Error()), "no such container") {
		return nil
	}
	return err
}
