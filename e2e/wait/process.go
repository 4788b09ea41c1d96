package wait

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// Runs reports whether a process runs. A process that has ended, but that its parent has not waited
// for yet, does not run. Without /proc it counts as running.
func Runs(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, found := bytes.Cut(stat, []byte(") "))
	return err != nil || !found || state[0] != 'Z'
}

// Gone waits until a process has ended. If it is still there after Patience, Gone fails the test
// and kills it.
func Gone(t testing.TB, pid int) {
	t.Helper()
	t.Cleanup(func() {
		if Runs(pid) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	Until(t, func() error {
		if Runs(pid) {
			return fmt.Errorf("process %d still runs", pid)
		}
		return nil
	})
}
