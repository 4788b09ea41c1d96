// Package rigtest is what the end-to-end tests share. It starts a [rig.Rig] for a test, acts as its
// clients, and waits for what a test expects.
//
// Starting an Envoy costs seconds of CPU time, so the tests of a package share one where they can:
//
//	var shared = rigtest.Shared{Filter: rules}
//
//	func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }
//
// Each test then has its own rule. So its metrics count only its own streams, and all tests can run
// at the same time. A test that needs another configuration calls [Start].
package rigtest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// Shared is the Envoy that the tests of a package share. The first test that needs it starts it.
type Shared struct {
	Filter string // the filter's configuration

	once sync.Once
	rig  *rig.Rig
	err  error
}

// Rig returns the shared Envoy. Its filter logs at level debug.
func (s *Shared) Rig(t *testing.T) *rig.Rig {
	t.Helper()
	s.once.Do(func() {
		s.rig, s.err = rig.Start(context.Background(), rig.Options{Filter: s.Filter, LogLevel: "wasm:debug"})
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	Explain(t, s.rig)
	return s.rig
}

// Run runs the tests, stops the shared Envoy and returns the exit status. The status is not 0 if a
// test failed, if Envoy ended before it was stopped, or if its logs name a client.
func (s *Shared) Run(m *testing.M) int {
	code := m.Run()
	if s.rig == nil {
		return code
	}
	if err := s.rig.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "the shared Envoy:", err)
		code = 1
	}
	if found := Leaks(s.rig); len(found) > 0 {
		fmt.Fprintf(os.Stderr, "the shared Envoy's logs name clients:\n%s\n", strings.Join(found, "\n"))
		code = 1
	}
	return code
}

// Start starts an Envoy that the end of the test stops.
func Start(t *testing.T, o rig.Options) *rig.Rig {
	t.Helper()
	r, err := rig.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	Explain(t, r)
	return r
}

// Explain shows what Envoy complained about during a test that has failed.
func Explain(t *testing.T, r *rig.Rig) {
	before := len(r.Log.Lines())
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		const maxLines = 20 // the trace of a panic has hundreds
		shown := 0
		for _, line := range r.Log.Lines()[before:] {
			if entry, ok := proxy.ParseLogEntry(line); ok && entry.Alarming() && shown < maxLines {
				shown++
				t.Log("envoy:", line)
			}
		}
	})
}

// RawID is the beginning of every client id, so that tests can find a client id in a log.
const RawID = "raw-client-id-"

var clients atomic.Int64

// NewClient returns a client id that no other test uses.
func NewClient() string { return fmt.Sprintf("%s%d", RawID, clients.Add(1)) }

// NewClients returns n new client ids.
func NewClients(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = NewClient()
	}
	return ids
}

// Leaks returns the lines of Envoy's logs that name a client.
func Leaks(r *rig.Rig) []string {
	return append(r.Log.Containing(RawID), r.Access.Containing(RawID)...)
}

// WantNoLeaks stops Envoy and checks that its logs name no client.
func WantNoLeaks(t *testing.T, r *rig.Rig) {
	t.Helper()
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	if found := Leaks(r); len(found) > 0 {
		t.Errorf("logs: want no client id, got\n%s", strings.Join(found, "\n"))
	}
}
