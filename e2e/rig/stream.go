package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Stream is the client's end of an event stream. It is read all the time, so that its end is noticed.
type Stream struct {
	ID     int         // the backend's name for it
	Header http.Header // of the response

	mu       sync.Mutex
	received []byte

	events chan string
	closed context.CancelFunc
	done   chan struct{}
	end    End // set before done is closed
}

// End is how a stream ended, as its client saw it.
type End struct {
	How How
	Err error // what reading it returned
	At  time.Time
}

// How is the kind of an end.
type How int

const (
	Finished How = iota + 1 // the response came to its end in good order
	Reset                   // it was broken off: RST_STREAM, or the end of an HTTP/1.1 connection in the midst of a response
	Closed                  // the client closed it
	Lost                    // something else: an HTTP/2 connection that is gone
)

func (h How) String() string {
	switch h {
	case Finished:
		return "finished"
	case Reset:
		return "reset"
	case Closed:
		return "closed"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("How(%d)", int(h))
}

// ErrNoStream is wrapped by the errors of Open for an answer that is no event stream.
var ErrNoStream = errors.New("not an event stream")

// Open opens an event stream and returns when the response's headers are there. ctx bounds that alone.
func (c *Conn) Open(ctx context.Context, q Request) (*Stream, error) {
	s, body, err := c.begin(ctx, q)
	if err != nil {
		return nil, err
	}
	go s.read(body, c.Protocol)
	return s, nil
}

// OpenUnread is Open for a client that never reads what it is sent. Such a stream does not notice its end.
func (c *Conn) OpenUnread(ctx context.Context, q Request) (*Stream, error) {
	s, _, err := c.begin(ctx, q)
	return s, err
}

func (c *Conn) begin(ctx context.Context, q Request) (*Stream, io.ReadCloser, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, cancel)()
	request, id, err := c.rig.build(life, q)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	response, err := c.http.RoundTrip(request)
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("open a stream: %w", err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		cancel()
		response.Body.Close()
		return nil, nil, fmt.Errorf("%w: %s, %q", ErrNoStream, response.Status, response.Header.Get("Content-Type"))
	}
	const unread = 16
	return &Stream{ID: id, Header: response.Header, events: make(chan string, unread), closed: cancel, done: make(chan struct{})}, response.Body, nil
}

func (s *Stream) read(body io.ReadCloser, p Protocol) {
	defer close(s.done)
	defer s.closed()
	defer body.Close()
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadString('\n')
		s.receive(line)
		if err != nil {
			s.end = End{How: how(err, p), Err: err, At: time.Now()}
			return
		}
		if data, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "data: "); ok {
			s.keep(data)
		}
	}
}

// keep makes room for the newest event: a client that looks at none must notice its end all the same.
func (s *Stream) keep(data string) {
	for {
		select {
		case s.events <- data:
			return
		default:
		}
		select {
		case <-s.events:
		default:
		}
	}
}

func how(err error, p Protocol) How {
	var rst streamError
	switch {
	case errors.Is(err, io.EOF):
		return Finished
	case errors.Is(err, context.Canceled):
		return Closed
	case p == HTTP1 && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)):
		return Reset
	case p == HTTP2 && errors.As(err, &rst):
		return Reset
	case errors.Is(err, ErrReset):
		return Reset
	}
	return Lost
}

// streamError is an RST_STREAM. net/http's own type for it is not exported, but can be read as any struct of these
// fields.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string {
	return fmt.Sprintf("stream %d: reset with code %d", e.StreamID, e.Code)
}

// Events are the data of the events that arrived. Of those that nobody takes, the newest sixteen are kept.
func (s *Stream) Events() <-chan string { return s.events }

// Received is what has arrived, event by event as it stood there; the first 16 KiB of it.
func (s *Stream) Received() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.received)
}

func (s *Stream) receive(text string) {
	const most = 16 << 10
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, text[:min(len(text), most-len(s.received))]...)
}

// Done is closed when the stream has ended.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Live reports whether the stream has not ended.
func (s *Stream) Live() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// End waits for the stream's end.
func (s *Stream) End(ctx context.Context) (End, error) {
	select {
	case <-s.done:
		return s.end, nil
	case <-ctx.Done():
		return End{}, fmt.Errorf("stream %d has not ended: %w", s.ID, context.Cause(ctx))
	}
}

// Close goes away, as a client does whose page is closed.
func (s *Stream) Close() { s.closed() }
