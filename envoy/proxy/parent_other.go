//go:build !linux

package proxy

import (
	"os/exec"
	"syscall"
)

// signalledWithParent: no such thing outside Linux. A parent that is killed leaves its Envoy behind; one that ends in
// any other way stops it.
func signalledWithParent(syscall.Signal) *syscall.SysProcAttr { return nil }

func killGroup(cmd *exec.Cmd) { cmd.Process.Kill() }

func onThread(f func()) { f() }

func runHere(cmd *exec.Cmd) ([]byte, error) { return cmd.CombinedOutput() }
