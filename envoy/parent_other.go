//go:build !linux

package envoy

import (
	"os/exec"
	"syscall"
)

// dieWithParent: no such thing outside Linux. A parent that is killed leaves its Envoy behind; one that ends in any
// other way stops it.
func dieWithParent() *syscall.SysProcAttr { return nil }

func onThread(f func()) { f() }

func runHere(cmd *exec.Cmd) ([]byte, error) { return cmd.CombinedOutput() }
