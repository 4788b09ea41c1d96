package proxy

import (
	"os/exec"
	"runtime"
	"syscall"
)

// parentDeathSignal makes the kernel send s to the process when this program ends for any reason.
// The process gets its own process group, so the terminal's Ctrl-C does not reach it: this program
// decides when it ends.
func parentDeathSignal(s syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: s, Setpgid: true}
}

// killGroup kills a command that was started with parentDeathSignal, and its children.
func killGroup(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// onLockedThread calls f on an operating system thread that exists at least until f returns. For
// the kernel the parent of a process is the thread that started it (prctl(2), PR_SET_PDEATHSIG),
// and the Go runtime ends idle threads. So f must start the process and also wait for its end.
func onLockedThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f()
}

// runHere runs a command that must not outlive this program, and returns its output. When the
// context of cmd ends, its children are killed too: a python3 may be a script that starts the real
// one.
func runHere(cmd *exec.Cmd) (output []byte, err error) {
	cmd.SysProcAttr = parentDeathSignal(syscall.SIGKILL)
	if cmd.Cancel != nil {
		cmd.Cancel = func() error { killGroup(cmd); return nil }
	}
	onLockedThread(func() { output, err = cmd.CombinedOutput() })
	return output, err
}
