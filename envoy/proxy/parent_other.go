//go:build !linux

package proxy

import (
	"os/exec"
	"syscall"
)

// parentDeathSignal does nothing: only Linux has such a signal. Elsewhere Envoy survives a program
// that is killed; a program that ends in any other way stops its Envoy.
func parentDeathSignal(syscall.Signal) *syscall.SysProcAttr { return nil }

func killGroup(cmd *exec.Cmd) { cmd.Process.Kill() }

func onLockedThread(f func()) { f() }

func runHere(cmd *exec.Cmd) ([]byte, error) { return cmd.CombinedOutput() }
