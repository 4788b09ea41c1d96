package child

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/script"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// A python3 may be a script that starts the real one: a cancelled command must take its children
// along.
func TestOutputEndsTheChildren(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "sleep 300 & echo $! > "+pidFile+"; wait")
	cmd.WaitDelay = time.Second
	done := make(chan struct{})
	go func() { defer close(done); Output(cmd) }()
	wait.Until(t, func() error { return script.Written(pidFile) })
	cancel()
	<-done
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	wait.Gone(t, pid)
}
