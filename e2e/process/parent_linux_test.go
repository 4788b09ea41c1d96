package process

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// For the kernel, the parent of a process is the thread that started it. Envoy must survive the end
// of the thread that called Start.
func TestEnvoySurvivesTheThreadThatCalledStart(t *testing.T) {
	path, ctx := realEnvoy(t), t.Context()
	started := make(chan *proxy.Process, 1)
	onExitingThread(func() {
		p, err := proxy.Start(ctx, proxy.Binary(path), proxy.Options{Config: plain, Concurrency: 1})
		if err != nil {
			t.Error(err)
		}
		started <- p
	})
	p := <-started
	if p == nil {
		return
	}
	defer p.Stop()
	select {
	case <-p.Done():
		t.Errorf("Envoy ended: %v", p.Err())
	case <-time.After(300 * time.Millisecond):
	}
}

// onExitingThread calls f on a thread that ends when f returns. The main thread never ends, so it
// is not used.
func onExitingThread(f func()) {
	go func() {
		runtime.LockOSThread() // without unlock: the thread ends with the goroutine
		if syscall.Gettid() == os.Getpid() {
			onExitingThread(f)
			select {}
		}
		f()
	}()
}
