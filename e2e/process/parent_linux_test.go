package process

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// For the kernel the parent of a process is the thread that started it. Envoy must not end when
// this thread ends.
func TestAnEnvoyOutlivesTheThreadOfItsStart(t *testing.T) {
	path, ctx := realEnvoy(t), t.Context()
	started := make(chan *proxy.Process, 1)
	onEndingThread(func() {
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
		t.Errorf("got the end of Envoy (%v), want it running", p.Err())
	case <-time.After(300 * time.Millisecond):
	}
}

// onEndingThread calls f on a thread that ends when f returns. The first thread of a program never
// ends, so it is not used.
func onEndingThread(f func()) {
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		if syscall.Gettid() == os.Getpid() {
			onEndingThread(f)
			select {}
		}
		f()
	}()
}
