package child

import (
	"os/exec"
	"runtime"
	"syscall"
)

func endWithParent(s syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: s, Setpgid: true}
}

// KillGroup kills a command that was started with EndWithParent, and its children.
func KillGroup(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// OnLockedThread calls f on an operating system thread that exists at least until f returns. For
// the kernel the parent of a process is the thread that started it (prctl(2), PR_SET_PDEATHSIG),
// and the Go runtime ends idle threads. So f must start the process and also wait for its end.
func OnLockedThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f()
}

// Output runs a command that must not outlive this program, and returns its output. When the
// context of cmd ends, its children are killed too: a python3 may be a script that starts the real
// one.
func Output(cmd *exec.Cmd) (output []byte, err error) {
	EndWithParent(cmd, syscall.SIGKILL)
	if cmd.Cancel != nil {
		cmd.Cancel = func() error { KillGroup(cmd); return nil }
	}
	OnLockedThread(func() { output, err = cmd.CombinedOutput() })
	return output, err
}
