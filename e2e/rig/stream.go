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

// A Stream is the client's side of an event stream. The rig reads it all the time, so it notices
// the end of the stream at once.
type Stream struct {
	ID     int         // the backend's id of the stream
	Header http.Header // of the response

	mu       sync.Mutex
	received []byte

	events chan string
	closed context.CancelFunc
	done   chan struct{}
	end    End // set before done is closed
}

// End is how and when a stream ended for its client.
type End struct {
	How How
	Err error // the error of the last read
	At  time.Time
}

// How is the way in which a stream ended.
type How int

const (
	Finished How = iota + 1 // the response ended in an orderly way
	Reset                   // the response was cut: RST_STREAM, or the end of an HTTP/1.1 connection
	Closed                  // the client closed it
	Lost                    // anything else, for example the end of an HTTP/2 connection
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

// ErrNoStream is the error of Open if the response is not an event stream.
var ErrNoStream = errors.New("not an event stream")

// Open opens an event stream and returns when the headers of the response have arrived. ctx covers
// only the time until then.
func (c *Conn) Open(ctx context.Context, q Request) (*Stream, error) {
	s, body, err := c.begin(ctx, q)
	if err != nil {
		return nil, err
	}
	go s.read(body, c.Protocol)
	return s, nil
}

// OpenUnread is like Open, for a client that never reads. Such a stream does not notice its own
// end.
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

// keep keeps an event for Events and drops the oldest one if there are too many. It never waits,
// because a client that takes no events must notice the end of its stream all the same.
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

// streamError is an RST_STREAM of HTTP/2. net/http does not export its type for it, but errors.As
// can convert it to any struct type with these fields.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string {
	return fmt.Sprintf("stream %d: reset with code %d", e.StreamID, e.Code)
}

// Events returns the data of the events as they arrive. It keeps the newest 16 events that were not
// taken.
func (s *Stream) Events() <-chan string { return s.events }

// Received returns the first 16 KiB of the body so far.
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

// Done returns a channel that is closed when the stream has ended.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Live reports whether the stream is open.
func (s *Stream) Live() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// End waits until the stream has ended.
func (s *Stream) End(ctx context.Context) (End, error) {
	select {
	case <-s.done:
		return s.end, nil
	case <-ctx.Done():
		return End{}, fmt.Errorf("wait for the end of stream %d: %w", s.ID, context.Cause(ctx))
	}
}

// Close makes the client disconnect.
func (s *Stream) Close() { s.closed() }
