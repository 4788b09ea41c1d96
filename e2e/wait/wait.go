// Package wait is how the tests of this repository wait for something in another process or
// goroutine. They name a condition and check it until it holds. They never sleep for as long as
// something should take.
package wait

import (
	"testing"
	"time"
)

// Patience is how long a test waits before it fails. It is long enough for the slowest machine, so
// it says nothing about how long things take.
const Patience = 60 * time.Second

// poll is the time between two checks.
const poll = 5 * time.Millisecond

// Until calls check until it returns nil. After Patience it fails the test with the last error of
// check.
func Until(t testing.TB, check func() error) {
	t.Helper()
	UntilWithin(t, Patience, check)
}

// UntilWithin is like [Until], with another time limit. It is for what takes longer by its nature,
// such as a scrape that comes every 15 seconds.
func UntilWithin(t testing.TB, patience time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(poll) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", patience, err)
		}
	}
}

// For waits until c is closed or has a value. After Patience it fails the test, and says what it
// was waiting for.
func For[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		t.Fatalf("%s: nothing after %v", what, Patience)
		panic("unreachable")
	}
}
