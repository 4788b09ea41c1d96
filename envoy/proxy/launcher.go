package proxy

import (
	"fmt"
	"os/exec"
	"syscall"

	"github.com/streamlatch/streamlatch/envoy/child"
)

// A Launcher knows how to run one particular Envoy: a [Binary] on this machine, or the one in the
// image of a [Container].
type Launcher interface {
	fmt.Stringer
	// queryCommand prepares an Envoy that prints something and exits.
	queryCommand(args []string) command
	// serverCommand prepares an Envoy that serves, in the directory dir ("" is the current one). It
	// reads and writes files in dir and in the directory for temporary files under the same paths
	// as this program, and binds the ports of this machine.
	serverCommand(dir string, args []string) command
}

// A command runs an Envoy. cmd exits when Envoy exits, with its status, and passes SIGTERM on to
// it. On Linux Envoy ends when the program that started cmd ends.
type command struct {
	cmd  *exec.Cmd
	kill func() // kills cmd and Envoy, and removes what an Envoy that has ended left behind
}

// Binary is the path of an Envoy on this machine: see [Find].
type Binary string

func (b Binary) String() string { return string(b) }

func (b Binary) queryCommand(args []string) command { return b.serverCommand("", args) }

func (b Binary) serverCommand(dir string, args []string) command {
	cmd := exec.Command(string(b), args...)
	cmd.Dir = dir
	child.EndWithParent(cmd, syscall.SIGKILL)
	return command{cmd: cmd, kill: func() { cmd.Process.Kill() }}
}
