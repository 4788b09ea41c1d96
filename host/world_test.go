package host_test

import (
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

func TestWorldSharedData(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2})
	w.SetSharedData("l", nil)
	w.SetSharedData("k", []byte("first"))
	w.SetSharedData("k", []byte{0xff})
	open(w.Worker(0), "request-headers", "get k; set k w $; set l _ 0")
	wantLog(t, w.Logs(), `get k -> Ok "\xff" cas 3`)
	got := w.SharedData()
	if len(got) != 2 || string(got["k"].Bytes) != "w" || got["k"].CAS != 4 || got["l"].CAS != 5 {
		t.Errorf("got the shared data %v, want k = w with cas 4, and l with cas 5", got)
	}
	got["k"].Bytes[0] = 'X'
	open(w.Worker(1), "request-headers", "get k")
	wantLog(t, w.Logs().OfWorker(1), `get k -> Ok "w" cas 4`)
}

func TestMemoryBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{Workers: 2})
	open(w.Worker(0), "request-headers", "alloc 16")
	if a, b := w.Worker(0).MemoryBytes(), w.Worker(1).MemoryBytes(); a < b+16<<20 || b < 64<<10 {
		t.Errorf("got %d and %d bytes of memory, want 16 MiB more in the first", a, b)
	}
}

func TestMisusePanics(t *testing.T) {
	t.Parallel()
	w, closed, drained := newWorld(t, host.Config{Workers: 1}), newWorld(t, host.Config{}), newWorld(t, host.Config{})
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	last := drained.Listeners()[0]
	last.Drain()
	for name, misuse := range map[string]func(){
		"a worker that does not exist":    func() { w.Worker(1) },
		"a stream on the main thread":     func() { w.Worker(host.MainThread).Open(nil) },
		"Advance by a negative duration":  func() { w.Advance(-1) },
		"SkipTime by a negative duration": func() { w.SkipTime(-1) },
		"a stream of a closed world":      func() { closed.Worker(0).Open(nil) },
		"a listener of a closed world":    func() { closed.AddListener(nil) },
		"a stream without a listener":     func() { drained.Worker(0).Open(nil) },
		"a listener that has drained":     func() { last.Open(0, nil) },
		"a listener on the main thread":   func() { w.Listeners()[0].Open(host.MainThread, nil) },
		"a listener in an interceptor": func() {
			w.Intercept(func(*host.Call) { w.AddListener(nil) })
			open(w.Worker(0), "request-headers", "get k")
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: got no panic, want one", name)
				}
			}()
			misuse()
		}()
	}
	if _, err := host.NewWorld(module(t), host.Config{Workers: -1}); err == nil {
		t.Error("a world with -1 workers: got no error, want one")
	}
}
