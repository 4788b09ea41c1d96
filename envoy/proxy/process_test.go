package proxy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/dir"
)

// Start stops an Envoy that does not serve before ctx ends.
func TestStartTimesOut(t *testing.T) {
	temporary := dir.Temporary(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	path, pid := neverReady(t)
	_, err := Start(ctx, Binary(path), Options{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "has not opened its admin interface") {
		t.Errorf("got %v", err)
	}
	assertGone(t, pid())
	if left := temporary(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Stop kills an Envoy that ignores SIGTERM after the grace, and returns an error.
func TestStopKills(t *testing.T) {
	path, pid := ignoringSIGTERM(t, liveAdmin(t, "1"))
	const grace = 200 * time.Millisecond
	p, err := Start(t.Context(), Binary(path), Options{Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	err = p.Stop()
	if took := time.Since(before); took < grace {
		t.Errorf("Stop took %v, want at least %v", took, grace)
	}
	if err == nil || !strings.Contains(err.Error(), "did not stop cleanly: signal: killed") {
		t.Errorf("got %v", err)
	}
	assertGone(t, pid())
}
