package rig

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// Send sends a request and returns the answer when its headers are there, for those who want to read it themselves,
// whatever it is. ctx is for the whole exchange: when it is cancelled the client has gone away.
func (c *Conn) Send(ctx context.Context, q Request) (*http.Response, error) {
	request, _, err := c.rig.build(ctx, q)
	if err != nil {
		return nil, err
	}
	return c.http.RoundTrip(request)
}

// Ended says how an exchange ended: err is what [Conn.Send] has returned, or reading the answer to its end.
func (c *Conn) Ended(err error, answered bool) How {
	h := how(err, c.Protocol)
	if !answered && (h == Finished || h == Lost && errors.Is(err, io.ErrUnexpectedEOF)) {
		return Reset // the connection was closed in the place of an answer
	}
	return h
}
