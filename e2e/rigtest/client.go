package rigtest

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// Get is a client's request for an event stream under a rule that reads the query.
func Get(rule, client string) rig.Request {
	return rig.Request{Client: client, Path: "/" + rule + "/?client=" + client}
}

// Dial opens a connection to one of Envoy's workers.
func Dial(t *testing.T, r *rig.Rig, p rig.Protocol, worker int) *rig.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	c, err := r.DialWorker(ctx, p, worker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Open opens an event stream.
func Open(t *testing.T, c *rig.Conn, q rig.Request) *rig.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	s, err := c.Open(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Do sends a request that is answered at once.
func Do(t *testing.T, c *rig.Conn, q rig.Request) *rig.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	response, err := c.Do(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// Protocols runs a test as a client of each. What fails over one is not waited for over the other.
func Protocols(t *testing.T, test func(t *testing.T, p rig.Protocol)) {
	for _, p := range []rig.Protocol{rig.HTTP1, rig.HTTP2} {
		if !t.Run(p.String(), func(t *testing.T) { test(t, p) }) {
			return
		}
	}
}

func Operator(t *testing.T, r *rig.Rig, p rig.Protocol) *rig.Conn {
	t.Helper()
	c, err := r.DialListener(t.Context(), p, rig.Internal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Ask asks Envoy's admin interface for something and returns the answer.
func Ask(t *testing.T, r *rig.Rig, method, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.Envoy().Admin().URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v", method, path, response.Status, err)
	}
	return string(body)
}

// Exchange sends a request as it stands, which must ask for the connection to be closed, and returns all that comes back.
func Exchange(t *testing.T, r *rig.Rig, request string) string {
	t.Helper()
	conn, err := r.DialTCP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}
