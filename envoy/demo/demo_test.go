package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// served is a backend that serves on a socket.
type served struct {
	*Backend
	t   *testing.T
	url string
}

func serve(t *testing.T, interval time.Duration) served {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := New(interval)
	server := NewServer(b)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-ended; err != http.ErrServerClosed {
			t.Errorf("serve: %v", err)
		}
	})
	return served{b, t, "http://" + listener.Addr().String()}
}

// client returns a client that uses either HTTP/1.1 or h2c.
func client(t *testing.T, h2c bool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!h2c)
	protocols.SetUnencryptedHTTP2(h2c)
	transport := &http.Transport{Protocols: &protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// do sends a request, and cancels it at the end of the test if cancel was not called before.
func (b served) do(c *http.Client, method, path, body string) (response *http.Response, cancel func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	request, err := http.NewRequestWithContext(ctx, method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	response, err = c.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { cancel(); response.Body.Close() })
	return response, cancel
}

// waitLive waits until the backend has these streams.
func (b served) waitLive(want map[string]int) {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		got := b.Live()
		if maps.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("live: got %v, want %v", got, want)
		}
	}
}

// events returns a function that reads the next event of a stream. It fails the test if it reads
// anything else.
func events(t *testing.T, body io.Reader) func() Event {
	lines, begun := bufio.NewScanner(body), false
	return func() Event {
		t.Helper()
		if !begun {
			begun = true
			if !lines.Scan() || lines.Text() != "retry: 1000" || !lines.Scan() || lines.Text() != "" {
				t.Fatalf("got %q (%v), want the stream to begin with its retry", lines.Text(), lines.Err())
			}
		}
		var got [3]string
		for i := range got {
			if !lines.Scan() {
				t.Fatalf("the stream ended: %v", lines.Err())
			}
			got[i] = lines.Text()
		}
		id, isID := strings.CutPrefix(got[0], "id: ")
		data, isData := strings.CutPrefix(got[1], "data: ")
		if !isID || !isData || got[2] != "" {
			t.Fatalf("got %q, want an event with id and data", got)
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatal(err)
		}
		if number, err := json.Marshal(e.ID); err != nil || string(number) != id {
			t.Errorf("event id %q, in its data %d", id, e.ID)
		}
		return e
	}
}

func TestStreamsAreCountedUntilTheyAreCanceled(t *testing.T) {
	for name, h2c := range map[string]bool{"HTTP/1.1": false, "h2c": true} {
		t.Run(name, func(t *testing.T) {
			// There is no second event, so the backend must notice a lost client without a write.
			b := serve(t, time.Hour)
			c := client(t, h2c)
			first, cancelFirst := b.do(c, "GET", "/events?client=ann", "")
			if e := events(t, first.Body)(); e.Client != "ann" || e.Live != 1 || time.Since(e.Time).Abs() > time.Minute {
				t.Errorf("got %+v, want the only stream of ann, and the time of now", e)
			}
			second, cancelSecond := b.do(c, "GET", "/events?client=ann", "")
			if e := events(t, second.Body)(); e.Live != 2 {
				t.Errorf("got %+v, want the second stream of ann", e)
			}
			_, cancelThird := b.do(c, "POST", "/events?client=bob", `{}`)
			b.waitLive(map[string]int{"ann": 2, "bob": 1})
			cancelFirst()
			b.waitLive(map[string]int{"ann": 1, "bob": 1})
			cancelThird()
			b.waitLive(map[string]int{"ann": 1})
			cancelSecond()
			b.waitLive(map[string]int{})
			if first.ProtoMajor == 2 != h2c {
				t.Errorf("got protocol %s", first.Proto)
			}
		})
	}
}

func TestLive(t *testing.T) {
	b := serve(t, time.Hour)
	c := client(t, false)
	b.do(c, "GET", "/events?client=ann", "")
	b.do(c, "GET", "/events?client=ann", "")
	b.do(c, "GET", "/events?client=bob", "")
	b.waitLive(map[string]int{"ann": 2, "bob": 1})
	response, _ := b.do(c, "GET", "/live", "")
	body, err := io.ReadAll(response.Body)
	if want := `{"total":3,"clients":{"ann":2,"bob":1}}` + "\n"; err != nil || string(body) != want {
		t.Errorf("got %s, %v, want %s", body, err, want)
	}
}

func TestEventsEndAtTheirLimit(t *testing.T) {
	b := serve(t, time.Millisecond)
	response, _ := b.do(client(t, false), "GET", "/events?client=ann&events=3", "")
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	next, last := events(t, response.Body), 0
	for range 3 {
		e := next()
		if e.ID <= last {
			t.Errorf("id %d after %d", e.ID, last)
		}
		last = e.ID
	}
	if rest, err := io.ReadAll(response.Body); len(rest) > 0 || err != nil {
		t.Errorf("after the last event: %q, %v, want the end", rest, err)
	}
	b.waitLive(map[string]int{})
}

// The interval is the time between events. The first one comes after firstEventDelay.
func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		server := NewServer(New(7 * time.Second))
		go server.Serve(&oneConn{conn: there, closed: make(chan struct{})})
		start := time.Now()
		go io.WriteString(here, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(here), nil)
		if err != nil {
			t.Fatal(err)
		}
		next := events(t, response.Body)
		for i := range 3 {
			next()
			if got, want := time.Since(start), firstEventDelay+time.Duration(i)*7*time.Second; got != want {
				t.Errorf("event %d after %v, want %v", i, got, want)
			}
		}
		here.Close()
		server.Close()
	})
}

func TestEventHasTheBodyOfThePost(t *testing.T) {
	b := serve(t, time.Hour)
	response, _ := b.do(client(t, true), "POST", "/events?client=ann", `{"method":"tools/call"}`)
	if e := events(t, response.Body)(); string(e.Request) != `{"method":"tools/call"}` {
		t.Errorf("got %s", e.Request)
	}
}

func TestResponsesThatAreNoStream(t *testing.T) {
	b := serve(t, time.Hour)
	c := client(t, false)
	for _, test := range []struct {
		method, path, body string
		status             int
		contentType, has   string
	}{
		{"GET", "/", "", 200, "text/html; charset=utf-8", "<title>Streamlatch demo</title>"},
		{"GET", "/streamlatch.js", "", 200, "text/javascript; charset=utf-8", "export function listen("},
		{"GET", "/events?client=ann&status=401", "", 401, "application/json", `{"status":401}`},
		{"POST", "/events?client=ann&status=503", "{}", 503, "application/json", `{"status":503}`},
		{"GET", "/events?client=ann&type=json", "", 200, "application/json", `{"status":200}`},
		{"GET", "/events?status=1000", "", 400, "text/plain; charset=utf-8", `status "1000", want 200 to 599`},
		{"GET", "/events?type=xml", "", 400, "text/plain; charset=utf-8", `type "xml", want "sse" or "json"`},
		{"GET", "/events?events=0", "", 400, "text/plain; charset=utf-8", `events "0", want a number from 1`},
		{"POST", "/events", "", 400, "text/plain; charset=utf-8", `request body "", want JSON`},
		{"POST", "/events", "{", 400, "text/plain; charset=utf-8", `request body "{", want JSON`},
		{"POST", "/events", strings.Repeat(" ", maxBody) + "{}", 400, "text/plain; charset=utf-8", "too large"},
		{"DELETE", "/events", "", 405, "text/plain; charset=utf-8", ""},
		{"GET", "/other", "", 404, "text/plain; charset=utf-8", ""},
	} {
		response, _ := b.do(c, test.method, test.path, test.body)
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != test.status || response.Header.Get("Content-Type") != test.contentType || !strings.Contains(string(body), test.has) {
			t.Errorf("%s %s: got %d, %s, %.100q; want %d, %s, %q", test.method, test.path,
				response.StatusCode, response.Header.Get("Content-Type"), body, test.status, test.contentType, test.has)
		}
	}
	b.waitLive(map[string]int{})
}

// The page must work without access to the internet.
func TestPageLoadsNothingFromElsewhere(t *testing.T) {
	names, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range names {
		text, err := files.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, foreign := range []string{"http://", "https://", "//cdn", "@import", "src=\"/", "url("} {
			if strings.Contains(string(text), foreign) {
				t.Errorf("%s has %q", file.Name(), foreign)
			}
		}
	}
}

// oneConn is a listener with a single connection.
type oneConn struct {
	conn   net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }
