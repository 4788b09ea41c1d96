package http3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// idleTimeout is how long Envoy waits for a client that has fallen silent. The client says so in
// the handshake.
const idleTimeout = 5 * time.Second

// A connection is one client's connection over QUIC, on a socket of its own. It is a
// [rig.Transport].
type connection struct {
	socket *net.UDPConn
	quic   *quic.Conn
	http   *http3.ClientConn
}

// dial opens a connection to one of Envoy's workers. The kernel chooses the worker, so dial tries
// until it is the right one. No other connection may be opened meanwhile.
func (e edge) dial(t *testing.T, p rig.Protocol, worker int) *rig.Conn {
	t.Helper()
	if p != rig.HTTP3 {
		return rigtest.Dial(t, e.Rig, p, worker)
	}
	conn, _ := e.dialHTTP3(t, worker)
	return conn
}

func (e edge) dialHTTP3(t *testing.T, worker int) (*rig.Conn, *connection) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	for {
		before := e.accepted(t)
		c, err := e.open(ctx)
		if err != nil {
			t.Fatalf("dial envoy's worker %d: %v", worker, err)
		}
		conn := e.Over(rig.HTTP3, c)
		t.Cleanup(func() { conn.Close() })
		if e.accepted(t)[worker] != before[worker] {
			return conn, c
		}
		conn.Close()
	}
}

var workerStat = regexp.MustCompile(`worker_(\d+)\.downstream_cx_total$`)

// accepted returns how many connections each worker has taken.
func (e edge) accepted(t *testing.T) map[int]uint64 {
	t.Helper()
	accepted := make(map[int]uint64)
	for name, n := range rigtest.StatsUnder(t, e.Rig, "listener.") {
		if m := workerStat.FindStringSubmatch(name); m != nil {
			worker, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			accepted[worker] += n
		}
	}
	return accepted
}

func (e edge) open(ctx context.Context) (*connection, error) {
	listeners, err := e.Envoy().Admin().Listeners(ctx)
	if err != nil {
		return nil, err
	}
	to, err := net.ResolveUDPAddr("udp", listeners[listenerName])
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", listenerName, err)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	c, err := quic.Dial(ctx, socket, to, e.certificate.client(), &quic.Config{MaxIdleTimeout: idleTimeout, KeepAlivePeriod: idleTimeout / 5})
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return &connection{socket, c, (&http3.Transport{DisableCompression: true}).NewClientConn(c)}, nil
}

func (c *connection) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.URL.Scheme = "https"
	response, err := c.http.RoundTrip(request)
	if err != nil {
		return nil, named(err)
	}
	response.Body = body{response.Body}
	return response, nil
}

// Close says goodbye to Envoy.
func (c *connection) Close() error {
	return errors.Join(c.quic.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), ""), c.socket.Close())
}

// vanish is a client that loses its network: Envoy hears nothing of it any more, no acknowledgement
// either.
func (c *connection) vanish() error { return c.socket.Close() }

func (c *connection) Err() error { return context.Cause(c.quic.Context()) }

func (c *connection) Available() int {
	if c.Err() != nil {
		return 0
	}
	return 1
}

// body is a response's, with errors as the rig wants them.
type body struct{ io.ReadCloser }

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	return n, named(err)
}

// named wraps into an error who ended the stream.
func named(err error) error {
	var reset *quic.StreamError
	switch {
	case !errors.As(err, &reset):
		return err
	case reset.Remote:
		return fmt.Errorf("%w: %w", rig.ErrReset, err)
	}
	return fmt.Errorf("%w: %w", context.Canceled, err)
}
