//go:build unix

package container

import "syscall"

// ownGroup keeps the terminal's Ctrl-C from a process: it is one of this program's and not of the user's.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
