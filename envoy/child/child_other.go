//go:build !linux

package child

import (
	"os/exec"
	"syscall"
)

// endWithParent does nothing: only Linux has such a signal. Elsewhere a child survives a program
// that is killed; a program that ends in any other way stops its children.
func endWithParent(syscall.Signal) *syscall.SysProcAttr { return nil }

func KillGroup(cmd *exec.Cmd) { cmd.Process.Kill() }

func OnLockedThread(f func()) { f() }

func Output(cmd *exec.Cmd) ([]byte, error) { return cmd.CombinedOutput() }
