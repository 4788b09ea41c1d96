// Package child starts programs that end with this one.
package child

import (
	"os/exec"
	"syscall"
)

// EndWithParent makes the kernel send s to the process of cmd when this program ends for any
// reason, on Linux. Call it before cmd starts, and start cmd with [OnLockedThread].
//
// The process gets its own process group, so the terminal's Ctrl-C does not reach it: this program
// decides when it ends.
func EndWithParent(cmd *exec.Cmd, s syscall.Signal) { cmd.SysProcAttr = endWithParent(s) }
