package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// overH1 opens a connection for each stream.
type overH1 struct {
	address string
	dialed  atomic.Int64

	anyAddress bool // clients have the address that the system gives them
}

func (t *overH1) send(s *stream) error {
	conn, err := t.dial()
	if err != nil {
		return err
	}
	s.leave = func() { conn.Close() }
	s.sent = time.Now()
	if _, err := io.WriteString(conn, s.text()); err != nil {
		conn.Close()
		return err
	}
	go s.readH1(conn)
	return nil
}

// dial opens a connection. One address has some 28,000 ports for clients, and a port cannot be used
// again for a minute, so clients have many addresses.
func (t *overH1) dial() (net.Conn, error) {
	from := net.IPv4(127, 0, 1, byte(1+t.dialed.Add(1)%64))
	dialer := net.Dialer{Timeout: dialTimeout}
	if !t.anyAddress {
		dialer.LocalAddr = &net.TCPAddr{IP: from}
	}
	return dialer.Dial("tcp", t.address)
}

const dialTimeout = time.Minute

// text returns the request as HTTP/1.1.
func (s *stream) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nhost: load\r\n", s.path())
	for _, f := range s.fields() {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	return b.String() + "\r\n"
}

// readH1 reads until the stream ends.
func (s *stream) readH1(conn net.Conn) {
	defer s.onEnd()
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 1<<10)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return
	}
	s.answer(response.StatusCode, response.Header.Get)
	chunk := make([]byte, 256)
	for {
		n, err := response.Body.Read(chunk)
		s.news.Add(int64(n))
		if err != nil {
			return
		}
	}
}
