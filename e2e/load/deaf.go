package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// deaf is a client that reads nothing after the headers of the response.
type deaf struct {
	stream *stream
	close  func() error
}

// openDeaf opens a stream that the backend floods, on a connection of its own, and returns when the
// response's headers have come.
func openDeaf(ctx context.Context, address string, h2 bool, key string) (*deaf, error) {
	conn, err := net.DialTimeout("tcp", address, dialTimeout)
	if err != nil {
		return nil, err
	}
	in := make(answer, 1)
	s := newStream(key, in)
	s.flood = true
	d := &deaf{s, conn.Close}
	if h2 {
		c, err := newH2(conn)
		if err != nil {
			return nil, err
		}
		c.deaf.Store(true)
		if err := c.send(s); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	} else {
		if _, err := io.WriteString(conn, s.text()); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		go func() {
			if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				s.answer(response.StatusCode, response.Header.Get)
			} else {
				s.onEnd()
			}
		}()
	}
	select {
	case v := <-in:
		if v == letIn {
			return d, nil
		}
		err = errors.New("a client that does not read: not let in")
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(patience):
		err = errors.New("a client that does not read: no answer")
	}
	return nil, errors.Join(err, conn.Close())
}

// An answer has the verdict about a stream as soon as there is one.
type answer chan verdict

func (a answer) answered(_ *stream, v verdict) { a.put(v) }
func (a answer) ended(*stream, time.Time)      { a.put(failed) }

func (a answer) put(v verdict) {
	select {
	case a <- v:
	default:
	}
}
