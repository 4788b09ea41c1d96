package rigtest

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// Get returns a client's request for an event stream, under a rule whose key is the query parameter
// client.
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

// Do sends a request and reads the whole response.
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

// Protocols runs a test with each HTTP version. If it fails with one, it does not run with the
// next.
func Protocols(t *testing.T, test func(t *testing.T, p rig.Protocol)) {
	for _, p := range []rig.Protocol{rig.HTTP1, rig.HTTP2} {
		if !t.Run(p.String(), func(t *testing.T) { test(t, p) }) {
			return
		}
	}
}

// Operator opens a connection to the listener for operators.
func Operator(t *testing.T, r *rig.Rig, p rig.Protocol) *rig.Conn {
	t.Helper()
	c, err := r.DialListener(t.Context(), p, rig.Internal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Ask sends a request to Envoy's admin interface and returns the body of the response.
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
		t.Fatalf("%s %s: got %s (%v), want 200", method, path, response.Status, err)
	}
	return string(body)
}

// Exchange sends the text of an HTTP/1.1 request, and returns everything that comes back. The
// request must ask for the connection to be closed.
func Exchange(t *testing.T, r *rig.Rig, request string) string {
	t.Helper()
	conn, err := r.DialTCP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return exchange(t, conn, request)
}

// ExchangeAt is like [Exchange], for a listener by its name. It returns the response; its
// body is there whole, and need not be closed.
func ExchangeAt(t *testing.T, r *rig.Rig, listener, request string) *http.Response {
	t.Helper()
	conn, err := r.DialListenerTCP(t.Context(), listener)
	if err != nil {
		t.Fatal(err)
	}
	answer := exchange(t, conn, request)
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: got %q: %v", request, answer, err)
	}
	return response
}

func exchange(t *testing.T, conn net.Conn, request string) string {
	t.Helper()
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
