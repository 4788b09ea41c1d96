package rig

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// Send sends a request and returns the response as soon as its headers have arrived, whatever they
// are. The caller reads the body. ctx covers the whole exchange: cancelling it makes the client
// disconnect.
func (c *Conn) Send(ctx context.Context, q Request) (*http.Response, error) {
	request, _, err := c.rig.build(ctx, q)
	if err != nil {
		return nil, err
	}
	return c.http.RoundTrip(request)
}

// Ended says how an exchange ended. err is the error of [Conn.Send], or of reading the body to its
// end; answered says whether there was a response.
func (c *Conn) Ended(err error, answered bool) How {
	h := how(err, c.Protocol)
	if !answered && (h == Finished || h == Lost && errors.Is(err, io.ErrUnexpectedEOF)) {
		return Reset // the connection was closed instead of an answer
	}
	return h
}
