package proxy

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// The kernel takes the thread that starts a process for its parent. A caller whose thread ends keeps its Envoy.
func TestAnEnvoyOutlivesTheThreadOfItsStart(t *testing.T) {
	path, ctx := realEnvoy(t), t.Context()
	started := make(chan *Process, 1)
	onDoomedThread(func() {
		p, err := Start(ctx, Binary(path), Options{Config: plain, Concurrency: 1})
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
