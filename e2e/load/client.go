package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// A client opens one stream at a time. An open is over when it is refused or has failed, or when
// the stream is let in and the client's stream before it has ended. A member of the crowd that has
// lost its stream opens another a second or two later, as an EventSource does.
type client struct {
	crowd *crowd
	key   string
	via   transport
	stay  time.Duration // for a guest, how long it stays; 0: a member of the crowd, which stays

	mu      sync.Mutex
	current *stream   // the newest stream that was let in, while it is open
	opening *stream   // its answer has not come
	old     *stream   // it must end, because current was let in
	asked   time.Time // when current was asked for
	early   time.Time // when the stream before opening ended, if that was before the answer to opening
	left    bool
}

// open opens a stream, unless an open is pending or the client has left.
func (c *client) open() {
	c.mu.Lock()
	if c.opening != nil || c.old != nil || c.left {
		c.rest()
		c.mu.Unlock()
		return
	}
	s := newStream(c.key, c)
	c.opening, c.early = s, time.Time{}
	c.crowd.pending.Add(1)
	c.crowd.opened.Add(1)
	c.mu.Unlock()
	if err := c.via.send(s); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.crowd.fail(err.Error())
		c.stayOut()
	}
}

func (c *client) answered(s *stream, v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s != c.opening:
	case v == letIn:
		c.comeIn()
	case v == refused:
		c.crowd.refused.Add(1)
		c.stayOut()
	default:
		c.crowd.fail(fmt.Sprint("status ", s.status))
		c.stayOut()
	}
}

// comeIn is called when opening is let in.
func (c *client) comeIn() {
	s := c.opening
	c.current, c.old, c.opening, c.asked = s, c.current, nil, s.sent
	switch {
	case c.left:
		go s.leave()
	case c.stay > 0:
		time.AfterFunc(c.stay, c.leave)
	}
	switch {
	case c.old == nil && !c.early.IsZero():
		c.crowd.record(c.early.Sub(s.sent))
		c.over()
	case c.old == nil:
		c.over()
	case c.crowd.edge.setup.bare:
		go c.old.leave()
	}
}

// stayOut is called when opening is not let in.
func (c *client) stayOut() {
	c.opening = nil
	if !c.early.IsZero() {
		c.crowd.lost.Add(1)
	}
	c.over()
}

func (c *client) ended(s *stream, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case c.opening:
		c.crowd.fail("no answer")
		c.stayOut()
	case c.old:
		c.crowd.record(at.Sub(c.asked))
		c.old = nil
		c.over()
	case c.current:
		c.current = nil
		if c.opening != nil {
			c.early = at
			return
		}
		if !c.left {
			c.crowd.lost.Add(1)
		}
		c.rest()
	}
}

// over notes that an open is over.
func (c *client) over() {
	c.crowd.pending.Add(-1)
	c.rest()
}

// rest decides what a client does whose last open is over.
func (c *client) rest() {
	switch {
	case c.current != nil || c.old != nil || c.opening != nil:
	case c.stay > 0:
		c.left = true
		c.crowd.forget(c)
	case !c.left:
		time.AfterFunc(time.Second+rand.N(time.Second), c.open)
	}
}

// leave makes the client hang up, and never open a stream again.
func (c *client) leave() {
	c.mu.Lock()
	c.left = true
	s := c.current
	c.mu.Unlock()
	if s != nil {
		s.leave()
	}
}
