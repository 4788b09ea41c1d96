package main

import (
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
		c.mu.Unlock()
		return
	}
	s := newStream(c.key, c)
	c.opening, c.early = s, time.Time{}
	c.crowd.pending.Add(1)
	c.crowd.opened.Add(1)
	c.mu.Unlock()
	if c.via.send(s) != nil {
		c.answered(s, failed)
	}
}

func (c *client) answered(s *stream, v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s != c.opening {
		return
	}
	c.opening = nil
	switch v {
	case letIn:
		c.asked = s.sent
		c.current, c.old = s, c.current
		switch {
		case c.left:
			go s.leave()
		case c.stay > 0:
			time.AfterFunc(c.stay, c.leave)
		}
		if c.old != nil {
			if c.crowd.edge.bare {
				go c.old.leave()
			}
			return
		}
		if !c.early.IsZero() {
			c.crowd.record(c.early.Sub(s.sent))
		}
	case refused:
		c.crowd.refused.Add(1)
	case failed:
		c.crowd.failed.Add(1)
	}
	if v != letIn && !c.early.IsZero() {
		c.crowd.lost.Add(1)
	}
	c.over()
}

func (c *client) ended(s *stream, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case c.opening:
		c.crowd.failed.Add(1)
		c.opening = nil
		c.over()
	case c.old:
		c.crowd.record(at.Sub(c.asked))
		c.old = nil
		c.over()
	case c.current:
		c.current = nil
		switch {
		case c.opening != nil:
			c.early = at
		case !c.left:
			c.crowd.lost.Add(1)
			c.rest()
		default:
			c.rest()
		}
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
