//go:build unix

package container

import "syscall"

// ownGroup keeps the terminal's Ctrl-C from a process.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
