package rig

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Protocol is the HTTP version that a client uses.
type Protocol int

const (
	HTTP1 Protocol = iota + 1
	HTTP2          // from the first byte, without an upgrade from HTTP/1.1
	HTTP3          // only with a [Transport] of the test
)

func (p Protocol) String() string {
	switch p {
	case HTTP1:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	case HTTP3:
		return "HTTP/3"
	}
	return fmt.Sprintf("Protocol(%d)", int(p))
}

// A Conn is one connection of a client to Envoy. The worker that accepts it serves it until it is
// closed.
type Conn struct {
	Protocol Protocol

	rig  *Rig
	http Transport
}

// A Transport is one connection to Envoy. It has a part of the methods of [http.ClientConn]. A test
// that brings its own must wrap [ErrReset] into the error of a response that Envoy has reset, and
// context.Canceled into the error of one that the client has cancelled.
type Transport interface {
	http.RoundTripper
	Close() error
	Err() error     // not nil: the connection is closed
	Available() int // how many requests the connection can take now
}

// ErrReset is the error of a [Transport] for a stream that Envoy has reset.
var ErrReset = errors.New("reset by envoy")

// Over returns a Conn that uses an open connection of the test, which Envoy has accepted.
func (r *Rig) Over(p Protocol, t Transport) *Conn {
	r.dialed.Add(1)
	return &Conn{Protocol: p, rig: r, http: t}
}

// Dial opens a connection. The operating system chooses the worker.
func (r *Rig) Dial(ctx context.Context, p Protocol) (*Conn, error) {
	c, err := r.clients[p].NewClientConn(ctx, "http", r.address)
	if err != nil {
		return nil, fmt.Errorf("dial envoy: %w", err)
	}
	return &Conn{Protocol: p, rig: r, http: c}, nil
}

// DialWorker opens a connection to one worker, counted from 0. The operating system spreads
// connections over the workers by port number, so DialWorker opens connections until the wanted
// worker accepts one.
func (r *Rig) DialWorker(ctx context.Context, p Protocol, worker int) (*Conn, error) {
	return r.dialWorker(ctx, p, worker, nil)
}

// DialWorkerTLS is like DialWorker, for an Envoy whose listener has a certificate. It sets the ALPN
// protocol in config. With TLS 1.3 a client learns that its certificate was refused only when it
// reads.
func (r *Rig) DialWorkerTLS(ctx context.Context, p Protocol, worker int, config *tls.Config) (*Conn, error) {
	config = config.Clone()
	config.NextProtos = []string{alpn[p]}
	return r.dialWorker(ctx, p, worker, config)
}

var alpn = map[Protocol]string{HTTP1: "http/1.1", HTTP2: "h2"}

func (r *Rig) dialWorker(ctx context.Context, p Protocol, worker int, config *tls.Config) (*Conn, error) {
	for {
		c, at, err := r.dialAlone(ctx, p, config)
		if err != nil {
			return nil, fmt.Errorf("dial envoy's worker %d: %w", worker, err)
		}
		if at == worker {
			return c, nil
		}
		c.Close()
	}
}

// dialAlone opens a connection and returns which worker accepted it. The counters of the workers
// tell this only as long as no other connection is opened, so the lock keeps those waiting.
func (r *Rig) dialAlone(ctx context.Context, p Protocol, config *tls.Config) (c *Conn, worker int, err error) {
	r.dialing.Lock()
	defer r.dialing.Unlock()
	before, err := r.accepted(ctx)
	if err != nil {
		return nil, 0, err
	}
	connection, err := r.open(ctx, r.address)
	if err != nil {
		return nil, 0, err
	}
	after, err := r.accepted(ctx)
	if err != nil {
		return nil, 0, errors.Join(err, connection.Close())
	}
	for worker := range after {
		if after[worker] != before[worker] {
			if config != nil {
				encrypted := tls.Client(connection, config)
				if err := encrypted.HandshakeContext(ctx); err != nil {
					return nil, 0, errors.Join(err, connection.Close())
				}
				connection = encrypted
			}
			c, err := r.clients[p].NewClientConn(context.WithValue(ctx, opened{}, connection), "http", r.address)
			if err != nil {
				return nil, 0, errors.Join(err, connection.Close())
			}
			return &Conn{Protocol: p, rig: r, http: c}, worker, nil
		}
	}
	return nil, 0, errors.Join(errors.New("no worker has accepted the connection"), connection.Close())
}

var workerStat = regexp.MustCompile(`\.worker_(\d+)\.downstream_cx_total$`)

// accepted returns how many connections each worker has accepted, as soon as all connections that
// the rig has opened are accepted.
func (r *Rig) accepted(ctx context.Context) (map[int]uint64, error) {
	for {
		stats, err := r.envoy.Admin().Stats(ctx, workerStat.String())
		if err != nil {
			return nil, err
		}
		accepted := make(map[int]uint64)
		var all uint64
		for name, n := range stats.Values {
			worker, err := strconv.Atoi(workerStat.FindStringSubmatch(name)[1])
			if err != nil {
				return nil, err
			}
			accepted[worker] += n // one statistic for each listener
			all += n
		}
		if all >= uint64(r.dialed.Load()) {
			return accepted, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("envoy has accepted %d connections, want %d: %w", all, r.dialed.Load(), context.Cause(ctx))
		case <-time.After(time.Millisecond):
		}
	}
}

// DialListener opens a connection to a listener by its name. The operating system chooses the
// worker.
func (r *Rig) DialListener(ctx context.Context, p Protocol, name string) (*Conn, error) {
	connection, err := r.DialListenerTCP(ctx, name)
	if err != nil {
		return nil, err
	}
	address := connection.RemoteAddr().String()
	c, err := r.clients[p].NewClientConn(context.WithValue(ctx, opened{}, connection), "http", address)
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	return &Conn{Protocol: p, rig: r, http: c}, nil
}

// DialListenerTCP is like [Rig.DialTCP], for a listener by its name.
func (r *Rig) DialListenerTCP(ctx context.Context, name string) (net.Conn, error) {
	listeners, err := r.envoy.Admin().Listeners(ctx)
	if err != nil {
		return nil, err
	}
	address, ok := listeners[name]
	if !ok {
		return nil, fmt.Errorf("no listener %q, envoy has %v", name, listeners)
	}
	r.dialing.RLock()
	defer r.dialing.RUnlock()
	connection, err := r.open(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("dial envoy's listener %s: %w", name, err)
	}
	return connection, nil
}

// DialTCP opens a connection for a test that speaks HTTP itself.
func (r *Rig) DialTCP(ctx context.Context) (net.Conn, error) {
	r.dialing.RLock()
	defer r.dialing.RUnlock()
	return r.open(ctx, r.address)
}

func (r *Rig) open(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		r.dialed.Add(1)
	}
	return connection, err
}

// opened is the context key of a connection that is open already, for transport to use. net/http
// treats it as a connection without TLS, even if it has TLS.
type opened struct{}

func (r *Rig) transport(p Protocol) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(p == HTTP1)
	protocols.SetUnencryptedHTTP2(p == HTTP2)
	return &http.Transport{
		Protocols:          &protocols,
		DisableCompression: true, // compression would add a request header
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if connection, ok := ctx.Value(opened{}).(net.Conn); ok {
				return connection, nil
			}
			return r.DialTCP(ctx)
		},
	}
}

// Close closes the connection, and every stream on it.
func (c *Conn) Close() error { return c.http.Close() }

// Usable reports whether the connection can take a request: it is open, and if it speaks HTTP/1.1
// it is idle.
func (c *Conn) Usable() bool { return c.http.Err() == nil && c.http.Available() > 0 }

// A Request is what a client sends. Path is required.
type Request struct {
	Client string            // the client to the backend; the filter reads its client key from Path or Header
	Method string            // "": GET
	Path   string            // including the query
	Header map[string]string // added to those of an EventSource; "": not sent
	Body   string
	Answer Answer
}

// streams is the newest id of a stream. Rigs share it, because they may share a backend.
var streams atomic.Int64

func (r *Rig) build(ctx context.Context, q Request) (*http.Request, int, error) {
	id := int(streams.Add(1))
	request, err := http.NewRequestWithContext(ctx, q.Method, "http://"+r.address+q.Path, strings.NewReader(q.Body))
	if err != nil {
		return nil, 0, err
	}
	// Like a browser's EventSource.
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Cache-Control", "no-cache")
	request.Header.Set("Pragma", "no-cache")
	request.Header.Set("User-Agent", "rig")
	request.Header.Set(headerClient, q.Client)
	request.Header.Set(headerStream, strconv.Itoa(id))
	request.Header.Set(headerAnswer, string(q.Answer))
	for name, value := range q.Header {
		if request.Header.Set(name, value); value == "" {
			request.Header.Del(name)
		}
	}
	return request, id, nil
}

// A Response is a complete response.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Do sends a request and reads the whole response. So it must not be an event stream that stays
// open.
func (c *Conn) Do(ctx context.Context, q Request) (*Response, error) {
	request, _, err := c.rig.build(ctx, q)
	if err != nil {
		return nil, err
	}
	response, err := c.http.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return &Response{Status: response.StatusCode, Header: response.Header, Body: string(body)}, nil
}
