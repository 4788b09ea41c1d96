// Package wait is how the tests of this repository wait for something to happen in another process or goroutine: they
// name the condition and look until it holds, and never sleep for as long as it should take.
package wait

import (
	"testing"
	"time"
)

// Patience is how long a test waits before it gives up. It ends tests that hang on the slowest machine, and says
// nothing about how long things take.
const Patience = 60 * time.Second

// poll is the pause between two looks.
const poll = 5 * time.Millisecond

// Until calls check until it returns nil. After Patience it fails the test with check's last error.
func Until(t testing.TB, check func() error) {
	t.Helper()
	UntilWithin(t, Patience, check)
}

// UntilWithin is [Until] with another patience: for what takes longer by its nature, such as a scrape that comes four
// times a minute.
func UntilWithin(t testing.TB, patience time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(poll) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v still: %v", patience, err)
		}
	}
}

// For waits until c is closed or has a value. After Patience it fails the test with what it has waited for.
func For[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		t.Fatalf("%s: waited for %v in vain", what, Patience)
		panic("unreachable")
	}
}
