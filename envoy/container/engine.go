// Package container drives the container engine of this machine, docker or podman, by its command line, which is the
// same for all that is asked of it here.
package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
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
	var unusable []string
	for _, name := range []string{"docker", "podman"} {
		e, err := open(ctx, name)
		if err == nil {
			return e, nil
		}
		if !errors.Is(err, exec.ErrNotFound) {
			unusable = append(unusable, fmt.Sprintf("%s cannot be used: %v", name, err))
		}
	}
	if unusable == nil {
		return Engine{}, fmt.Errorf("found neither docker nor podman: install one of them (Debian: podman and runc), or name an engine in %s", Variable)
	}
	return Engine{}, errors.New(strings.Join(unusable, "; "))
}

// openLimit bounds the question whether an engine answers, which takes a quarter of a second.
const openLimit = 30 * time.Second

func open(ctx context.Context, name string) (Engine, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil {
			err = cause // without the name, which is told already
		}
		return Engine{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	e := Engine{path: path}
	version, err := e.Output(ctx, "--version")
	if err != nil {
		return Engine{}, err
	}
	e.podman = strings.Contains(version, "podman")
	if _, err := e.Output(ctx, "info"); err != nil {
		return Engine{}, advise(err)
	}
	return e, nil
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

// Output calls the engine and returns what it prints, without space around. If it fails, the error is the engine's last
// line.
func (e Engine) Output(ctx context.Context, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := e.Command(ctx, args...)
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	output, err := cmd.Output()
	if err == nil {
		return strings.TrimSpace(string(output)), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if last := strings.TrimSpace(strings.TrimPrefix(lines[len(lines)-1], "Error: ")); last != "" {
		err = errors.New(last)
	}
	return "", err
}

// Has reports whether the engine has an image, or can get it without a registry.
func (e Engine) Has(ctx context.Context, image string) bool {
	_, err := e.Output(ctx, "image", "inspect", image)
	return err == nil
}

// Pull gets an image from its registry.
func (e Engine) Pull(ctx context.Context, image string) error {
	_, err := e.Output(ctx, "pull", "--quiet", image)
	return err
}

// Remove ends a container, if it runs, and removes it, if it is there.
func (e Engine) Remove(ctx context.Context, name string) error {
	_, err := e.Output(ctx, "rm", "--force", "--volumes", name)
	if err != nil && strings.Contains(strings.ToLower(err.Error()), "no such container") {
		return nil
	}
	return err
}
