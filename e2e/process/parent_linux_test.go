package process

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// The kernel takes the thread that starts a process for its parent. A caller whose thread ends keeps its Envoy.
func TestAnEnvoyOutlivesTheThreadOfItsStart(t *testing.T) {
	path, ctx := realEnvoy(t), t.Context()
	started := make(chan *proxy.Process, 1)
	onDoomedThread(func() {
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
		t.Errorf("it has ended: %v", p.Err())
	case <-time.After(300 * time.Millisecond):
	}
}

// onDoomedThread calls f on a thread that ends with it. The first thread of a program cannot: the runtime keeps it.
func onDoomedThread(f func()) {
	go func() {
		runtime.LockOSThread() // and never unlocked
		if syscall.Gettid() == os.Getpid() {
			onDoomedThread(f)
			select {}
		}
		f()
	}()
}
