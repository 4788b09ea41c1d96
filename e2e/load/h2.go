package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// perConn is how many streams a client opens on one connection: fewer than Envoy's default limit,
// 1024, because a stream that the filter has reset may still count.
const perConn = 900

// overH2 spreads streams over connections, in turn. A connection that has ended is replaced.
type overH2 struct {
	address string
	next    atomic.Int64
	mu      sync.Mutex
	conns   []*h2Conn
}

// newOverH2 returns a transport with this number of connections, which are dialed when needed.
func newOverH2(address string, conns int) *overH2 {
	return &overH2{address: address, conns: make([]*h2Conn, conns)}
}

func (t *overH2) send(s *stream) error {
	for range len(t.conns) {
		c, err := t.conn(int(t.next.Add(1) % int64(len(t.conns))))
		if err != nil {
			return err
		}
		if err := c.send(s); err != errFull && err != errDone {
			return err
		}
	}
	return errFull
}

func (t *overH2) conn(i int) (*h2Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.conns[i]; c != nil && !c.done() {
		return c, nil
	}
	c, err := dialH2(t.address)
	if err == nil {
		t.conns[i] = c
	}
	return c, err
}

var (
	errFull = errors.New("the connection has all the streams that it may have")
	errDone = errors.New("the connection has ended")
)

// An h2Conn is a client's connection. It is written on the frames themselves, because a client of
// net/http needs goroutines for each stream, and cannot be made to misbehave.
type h2Conn struct {
	conn   net.Conn
	framer *http2.Framer
	unread int64       // bytes of DATA that no WINDOW_UPDATE has given back; only the reader uses it
	deaf   atomic.Bool // nothing is read after the first response's headers

	writing sync.Mutex // held while frames are written, so that stream ids ascend
	encoder *hpack.Encoder
	block   bytes.Buffer
	next    uint32

	mu      sync.Mutex
	streams map[uint32]*stream
	ended   bool // it takes no more streams
}

func dialH2(address string) (*h2Conn, error) {
	conn, err := net.DialTimeout("tcp", address, dialTimeout)
	if err != nil {
		return nil, err
	}
	return newH2(conn)
}

// newH2 speaks HTTP/2 over a connection, with prior knowledge.
func newH2(conn net.Conn) (*h2Conn, error) {
	c := &h2Conn{conn: conn, framer: http2.NewFramer(conn, conn), next: 1, streams: make(map[uint32]*stream)}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.SetReuseFrames()
	c.encoder = hpack.NewEncoder(&c.block)
	_, err := io.WriteString(conn, http2.ClientPreface)
	if err == nil {
		err = c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

func (c *h2Conn) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

func (c *h2Conn) send(s *stream) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	id := c.next
	c.mu.Lock()
	switch {
	case c.ended:
		c.mu.Unlock()
		return errDone
	case len(c.streams) >= perConn:
		c.mu.Unlock()
		return errFull
	}
	s.leave = func() { c.leave(id, s) }
	s.sent = time.Now()
	c.streams[id] = s
	c.mu.Unlock()
	c.next += 2

	c.block.Reset()
	c.field(":method", "GET")
	c.field(":scheme", "http")
	c.field(":authority", "load")
	c.field(":path", s.path())
	for _, f := range s.fields() {
		c.field(f[0], f[1])
	}
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: true})
	if err != nil {
		c.conn.Close() // so the reader tells the watcher
	}
	return nil
}

func (c *h2Conn) field(name, value string) {
	c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
}

// leave cancels a stream.
func (c *h2Conn) leave(id uint32, s *stream) {
	c.write(func() error { return c.framer.WriteRSTStream(id, http2.ErrCodeCancel) })
	c.end(id)
}

func (c *h2Conn) write(frame func() error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if frame() != nil {
		c.conn.Close()
	}
}

// end forgets a stream and tells its watcher.
func (c *h2Conn) end(id uint32) {
	c.mu.Lock()
	s := c.streams[id]
	delete(c.streams, id)
	c.mu.Unlock()
	if s != nil {
		s.onEnd()
	}
}

func (c *h2Conn) stream(id uint32) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[id]
}

// read reads frames until the connection ends. All its streams end then.
func (c *h2Conn) read() {
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			break
		}
		c.handle(frame)
		if _, answer := frame.(*http2.MetaHeadersFrame); answer && c.deaf.Load() {
			return
		}
	}
	c.conn.Close()
	c.mu.Lock()
	c.ended = true
	rest := c.streams
	c.streams = nil
	c.mu.Unlock()
	for _, s := range rest {
		s.onEnd()
	}
}

func (c *h2Conn) handle(frame http2.Frame) {
	id := frame.Header().StreamID
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		if s := c.stream(id); s != nil {
			status, _ := strconv.Atoi(f.PseudoValue("status"))
			s.answer(status, func(name string) string { return valueOf(f.RegularFields(), name) })
		}
		if f.StreamEnded() {
			c.end(id)
		}
	case *http2.DataFrame:
		c.unread += int64(f.Length)
		const enough = 16 << 10
		if c.unread >= enough {
			give := uint32(c.unread)
			c.unread = 0
			c.write(func() error { return c.framer.WriteWindowUpdate(0, give) })
		}
		if s := c.stream(id); s != nil {
			before := s.news.Add(int64(f.Length)) - int64(f.Length)
			if give := s.news.Load()/enough*enough - before/enough*enough; give > 0 {
				c.write(func() error { return c.framer.WriteWindowUpdate(id, uint32(give)) })
			}
		}
		if f.StreamEnded() {
			c.end(id)
		}
	case *http2.RSTStreamFrame:
		c.end(id)
	case *http2.SettingsFrame:
		if !f.IsAck() {
			c.write(c.framer.WriteSettingsAck)
		}
	case *http2.PingFrame:
		if data := f.Data; !f.IsAck() {
			c.write(func() error { return c.framer.WritePing(true, data) })
		}
	case *http2.GoAwayFrame:
		c.mu.Lock()
		c.ended = true
		c.mu.Unlock()
	}
}

func valueOf(fields []hpack.HeaderField, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}
