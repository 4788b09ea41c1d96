//go:build unix

package container

import "syscall"

// ownGroup puts a process into its own process group, so the terminal's Ctrl-C does not reach it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
