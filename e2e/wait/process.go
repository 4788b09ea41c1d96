package wait

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// Runs reports whether a process runs. One that has ended does not, even if its parent has not waited for it yet, where
// /proc tells that.
func Runs(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, found := bytes.Cut(stat, []byte(") "))
	return err != nil || !found || state[0] != 'Z'
}

// Gone waits until a process has ended. It kills one that outlives Patience, and fails the test.
func Gone(t testing.TB, pid int) {
	t.Helper()
	t.Cleanup(func() {
		if Runs(pid) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	Until(t, func() error {
		if Runs(pid) {
			return fmt.Errorf("process %d runs", pid)
		}
		return nil
	})
}
