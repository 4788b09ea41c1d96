//go:build prometheus

package operators

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// load makes clients cause the situations, until the test ends.
func load(t *testing.T, envoys map[string]*rig.Rig) {
	t.Helper()
	crowd := envoys["crowd"]
	of := func(rule, client string) rig.Request {
		return rig.Request{Client: client, Path: "/" + rule + "/?client=" + client}
	}
	fresh := func(i int) string { return fmt.Sprint("client-", i) }

	// Streams open and close. Some are superseded, and some requests have no client key.
	steadily(t, crowd, time.Second, func(ctx context.Context, c *rig.Conn, i int) error {
		s, err := c.Open(ctx, of("steady", fresh(i)))
		if err != nil {
			return err
		}
		if i%2 == 0 {
			if s, err = c.Open(ctx, of("steady", fresh(i))); err != nil {
				return err
			}
		}
		s.Close()
		if i%5 == 0 {
			_, err = c.Do(ctx, rig.Request{Path: "/steady/", Answer: rig.JSON})
		}
		return err
	})
	steadily(t, crowd, 200*time.Millisecond, func(ctx context.Context, c *rig.Conn, i int) error {
		_, err := c.Open(ctx, of("storm", fresh(i%2)))
		return err
	})
	steadily(t, crowd, 500*time.Millisecond, func(ctx context.Context, c *rig.Conn, i int) error {
		// Another client each time: one that comes back early is held, and refused less often.
		if _, err := c.Open(ctx, of("refusing", fresh(i))); err != nil {
			return err
		}
		response, err := c.Do(ctx, of("refusing", fresh(i)))
		if err == nil && response.Status != 409 {
			err = fmt.Errorf("a second stream: got status %d, want 409", response.Status)
		}
		return err
	})
	steadily(t, crowd, 300*time.Millisecond, func(ctx context.Context, c *rig.Conn, i int) error {
		_, err := c.Do(ctx, rig.Request{Path: "/nameless/", Answer: rig.JSON})
		return err
	})
	steadily(t, crowd, 500*time.Millisecond, func(ctx context.Context, c *rig.Conn, i int) error {
		_, err := c.Open(ctx, of("silent", fresh(i)))
		return err
	})
	steadily(t, envoys["near"], time.Second, func(ctx context.Context, c *rig.Conn, i int) error {
		if i >= 9 {
			return nil
		}
		_, err := c.Open(ctx, of("", fresh(i)))
		return err
	})
	steadily(t, envoys["full"], 500*time.Millisecond, func(ctx context.Context, c *rig.Conn, i int) error {
		if i < 2 {
			_, err := c.Open(ctx, of("", fresh(i)))
			return err
		}
		_, err := c.Do(ctx, of("", fresh(i)))
		return err
	})
	steadily(t, envoys["alone"], time.Second, func(ctx context.Context, c *rig.Conn, i int) error {
		_, err := c.Open(ctx, of("", fresh(i)))
		return err
	})
	late := envoys["late"]
	steadily(t, late, 1500*time.Millisecond, func(ctx context.Context, _ *rig.Conn, _ int) error {
		c, err := late.Dial(ctx, rig.HTTP1) // one connection a stream: the older stream ends with its own
		if err != nil {
			return err
		}
		_, err = c.Open(ctx, of("", fresh(0)))
		return err
	})
	crash(t, envoys["crashed"])
}

// steadily calls do again and again on one connection, at most once in every, until the test ends.
// The streams that do opens end with the connection.
func steadily(t *testing.T, r *rig.Rig, every time.Duration, do func(ctx context.Context, c *rig.Conn, i int) error) {
	t.Helper()
	c, err := r.Dial(t.Context(), rig.HTTP2)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		for i := range 10 * int(wait.Patience/every) {
			if err := do(ctx, c, i); err != nil {
				ended <- err
				return
			}
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-time.After(every):
			}
		}
		ended <- errors.New("the load ended before the test")
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		c.Close()
	})
}

// crash makes a worker that holds a stream die. Another worker, which holds a stream too, notices
// it.
func crash(t *testing.T, r *rig.Rig) {
	t.Helper()
	dial := func(worker int) *rig.Conn {
		c, err := r.DialWorker(t.Context(), rig.HTTP2, worker)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dead, alive := dial(0), dial(1)
	for client, c := range map[string]*rig.Conn{"lost": dead, "kept": alive} {
		if _, err := c.Open(t.Context(), rig.Request{Client: client, Path: "/?client=" + client}); err != nil {
			t.Fatal(err)
		}
	}
	bad := rig.Request{Path: "/?client=bad", Header: map[string]string{"x-crash": "now"}, Answer: rig.JSON}
	if response, err := dead.Do(t.Context(), bad); err != nil || response.Status != 503 {
		t.Fatalf("the request that crashes the filter: got %v, %v; want status 503", response, err)
	}
}
