package proxy

import (
	"fmt"
	"os/exec"
	"syscall"
)

// A Launcher runs Envoys of one make: a [Binary] of this machine, or the one in the image of a [Container].
type Launcher interface {
	fmt.Stringer
	// question prepares an Envoy that is asked something, answers and exits.
	question(args []string) job
	// job prepares an Envoy that serves, in the directory dir ("": the current one). It reads and writes what is in
	// there and in the directory of temporary files, by the paths that this program has for it, and its ports are
	// this machine's.
	job(dir string, args []string) job
}

// A job is an Envoy that runs: its command ends when Envoy does, and with its status; a SIGTERM to the command is one
// to Envoy; and on Linux Envoy ends when the program that started the command does.
type job struct {
	cmd  *exec.Cmd
	kill func() // ends both at once, and leaves nothing of an Envoy that has ended
}

// Binary is the path of an Envoy on this machine: see [Find].
type Binary string

func (b Binary) String() string { return string(b) }

func (b Binary) question(args []string) job { return b.job("", args) }

func (b Binary) job(dir string, args []string) job {
	cmd := exec.Command(string(b), args...)
	cmd.Dir = dir
	cmd.SysProcAttr = signalledWithParent(syscall.SIGKILL)
	return job{cmd: cmd, kill: func() { cmd.Process.Kill() }}
}
