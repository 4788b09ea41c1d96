package proxy

import (
	"context"
	"os/exec"
	"syscall"
)

// A Launcher runs Envoys of one make: [Binary] those of this machine, [Container] those of an image.
type Launcher interface {
	// Version asks the Envoy for its version.
	Version(ctx context.Context) (Version, error)
	// job prepares one Envoy with these arguments, to be started in the directory dir ("": the current one). It reads
	// and writes the files of this program's machine, under dir and the directory of temporary files, by their paths
	// here, and its ports are this machine's.
	job(dir string, args []string) job
}

// A job is the command of one Envoy. It ends when Envoy does, and with its status; a SIGTERM to it is one to Envoy; and
// when the program that started it is gone, so is Envoy, on Linux.
type job struct {
	cmd  *exec.Cmd
	kill func() // ends the command and Envoy at once
}

// Binary is the path of an Envoy on this machine: see [Find].
type Binary string

func (b Binary) Version(ctx context.Context) (Version, error) { return VersionOf(ctx, string(b)) }

func (b Binary) job(dir string, args []string) job {
	cmd := exec.Command(string(b), args...)
	cmd.Dir = dir
	cmd.SysProcAttr = signalledWithParent(syscall.SIGKILL)
	return job{cmd: cmd, kill: func() { cmd.Process.Kill() }}
}
