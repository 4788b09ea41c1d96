package proxy

import (
	"os/exec"
	"runtime"
	"syscall"
)

// signalledWithParent makes the kernel send the process a signal when its parent is gone, however that went. A process
// group of its own keeps the terminal's Ctrl-C from it: when it ends is for its parent to say.
func signalledWithParent(s syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: s, Setpgid: true}
}

// killGroup ends a command that was started as signalledWithParent says, and its children.
func killGroup(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// onThread calls f on an operating system thread that lives as long as f runs. To the kernel the parent of a process is
// the thread that started it, prctl(2), and the Go runtime ends threads that it has no use for: f starts the process
// and returns only when it has ended.
func onThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f()
}

// runHere runs a command that must not outlive this program, and returns what it wrote. If its context ends, so do
// its children: a python3 may be a script that starts the real one.
func runHere(cmd *exec.Cmd) (output []byte, err error) {
	cmd.SysProcAttr = signalledWithParent(syscall.SIGKILL)
	if cmd.Cancel != nil {
		cmd.Cancel = func() error { killGroup(cmd); return nil }
	}
	onThread(func() { output, err = cmd.CombinedOutput() })
	return output, err
}
