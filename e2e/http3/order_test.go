package http3

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/host"
	"github.com/streamlatch/streamlatch/host/gobuild"
)

// guest is the filter of the test host's own tests. It does what request headers tell it and logs
// its callbacks.
var guest = sync.OnceValues(func() ([]byte, error) {
	return gobuild.Build(context.Background(), "./host/testdata/guest", "")
})

// guestConfig makes the guest ask for context 2 in each tick. That is a worker's first stream.
const guestConfig = "configure: tick 20\ntick: effective 2"

// A stream over HTTP/3 that ends in good order gets no on_log, and its context is forgotten at
// once. All other ends are those of HTTP/1.1 and HTTP/2. The test host does as Envoy does. No row
// resets a stream twice: Envoy 1.40 crashes.
func TestEnds(t *testing.T) {
	wasm, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	module, err := host.Compile(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	e := start(t, rig.Options{Concurrency: 1, Module: guest, Filter: guestConfig})
	log := &guestLog{rig: e.Rig}

	t.Run("the context is forgotten", func(t *testing.T) { // first: guestConfig is about the first stream
		s := rigtest.Open(t, e.dial(t, rig.HTTP3, 0), rig.Request{Path: "/"})
		log.await(t, "effective 2 -> Ok")
		e.Backend.End(s.ID)
		rigtest.WantEnd(t, s, rig.Finished)
		log.await(t, "2 delete")
		log.await(t, "1 tick")
		if answer := log.await(t, "effective 2 -> (.*)"); answer != "BadArgument" {
			t.Errorf("set_effective_context in the first tick after on_delete: %s", answer)
		}
	})
	t.Run("nobody acknowledges the end", func(t *testing.T) {
		conn, client := e.dialHTTP3(t, 0)
		s := rigtest.Open(t, conn, rig.Request{Path: "/"})
		if err := client.vanish(); err != nil {
			t.Fatal(err)
		}
		e.Backend.End(s.ID)
		log.await(t, "3 delete")
	})

	for _, tt := range []struct {
		name    string
		scripts []string // of the stream: callback and script in turn
		client  func(*testing.T, exchange)
		host    func(*host.Stream)
		want    string // the callbacks from the first on that tells of the end
	}{
		{"the backend ends it", nil, get, upstreamEnds, "done, delete"},
		{"the client leaves", nil, leave, clientLeaves, "log, done, delete"},
		{"the client closes the connection", nil, hangUp, clientLeaves, "log, done, delete"},
		{"a reply to the response", []string{"response-headers", "reply 409 _ x"}, get, upstreamEnds, "done, delete"},
		{"a reply before the request is over", []string{"request-headers", "reply 409 _ x"}, upload, requestOpen, "log, done, delete"},
		{"a reset at the request", []string{"request-headers", "close 0"}, get, upstreamEnds, "log, done, delete"},
		{"a reset at the response", []string{"response-headers", "close 1"}, get, upstreamEnds, "log, done, delete"},
		{"a reset and a reply", []string{"response-headers", "close 0; reply 409 _ x"}, get, upstreamEnds, "log, done, delete"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := make(map[string]string)
			pairs := slices.Clone(tt.scripts)
			for i := 0; i < len(pairs); i += 2 {
				pairs[i] = "on-" + pairs[i]
				header[pairs[i]] = pairs[i+1]
			}
			log.skip()
			conn, client := e.dialHTTP3(t, 0)
			tt.client(t, exchange{conn, client, rig.Request{Path: "/", Header: header}})
			id := log.await(t, `(\d+) delete`)
			log.await(t, "1 tick") // and all that came with on_delete
			envoys := ending(log.lines(), id)

			w, err := host.NewWorld(module, host.Config{PluginConfig: []byte(guestConfig)})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			s := w.Worker(0).Open(host.Request("GET", "/", pairs...))
			s.SetProtocol(host.HTTP3)
			tt.host(s)
			var lines []string
			for _, entry := range w.Logs().OfWorker(0) {
				lines = append(lines, entry.Message)
			}
			if hosts := ending(lines, "2"); envoys != tt.want || hosts != tt.want {
				t.Errorf("Envoy: %s; the host: %s; want %s", envoys, hosts, tt.want)
			}
		})
	}
	if err := e.Stop(); err != nil { // after which nothing of them can come any more
		t.Fatal(err)
	}
	for _, id := range []string{"2", "3"} {
		if got := ending(log.lines(), id); got != "done, delete" {
			t.Errorf("stream %s: %s", id, got)
		}
	}
}

// An exchange is what one client does on a connection of its own.
type exchange struct {
	conn    *rig.Conn
	client  *connection
	request rig.Request
}

func get(t *testing.T, x exchange) {
	x.request.Answer = rig.JSON
	response, err := x.conn.Send(t.Context(), x.request)
	if err != nil {
		return // it has been reset
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
}

func leave(t *testing.T, x exchange) { rigtest.Open(t, x.conn, x.request).Close() }

func hangUp(t *testing.T, x exchange) {
	rigtest.Open(t, x.conn, x.request)
	if err := x.conn.Close(); err != nil {
		t.Error(err)
	}
}

// upload is a POST that does not come to its end.
func upload(t *testing.T, x exchange) {
	body, more := io.Pipe()
	t.Cleanup(func() { more.Close() })
	request, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+edgeName+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("accept", "text/event-stream")
	for name, value := range x.request.Header {
		request.Header.Set(name, value)
	}
	response, err := x.client.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusConflict {
		t.Errorf("status %d, want that of the guest's reply", response.StatusCode)
	}
}

// The same on the test host.

func upstreamEnds(s *host.Stream) {
	s.RequestHeaders(true)
	s.ResponseHeaders(host.Response(200), false)
	s.ResponseBody([]byte("x"), true)
}

func clientLeaves(s *host.Stream) {
	s.RequestHeaders(true)
	s.ResponseHeaders(host.Response(200), false)
	s.End()
}

func requestOpen(s *host.Stream) { s.RequestHeaders(false) }

// ending returns the callbacks of a stream from the first on that tells of its end.
func ending(lines []string, id string) string {
	var phases []string
	for _, line := range lines {
		if phase, found := strings.CutPrefix(line, id+" "); found {
			phases = append(phases, phase)
		}
	}
	first := slices.IndexFunc(phases, func(phase string) bool { return phase == "log" || phase == "done" || phase == "delete" })
	return strings.Join(phases[max(0, first):], ", ")
}

// guestLog is what the guest has logged. It is read once, from its beginning.
type guestLog struct {
	rig  *rig.Rig
	next int // the line to read next
}

var guestLine = regexp.MustCompile(`\] wasm log [^:]*: (.*)$`)

func (l *guestLog) lines() []string {
	var lines []string
	for _, line := range l.rig.Log.Lines() {
		if m := guestLine.FindStringSubmatch(line); m != nil {
			lines = append(lines, m[1])
		}
	}
	return lines
}

// skip passes over all lines so far.
func (l *guestLog) skip() { l.next = len(l.lines()) }

// await reads on to a line of this pattern, and returns what is in its parentheses.
func (l *guestLog) await(t *testing.T, pattern string) string {
	t.Helper()
	wanted := regexp.MustCompile("^" + pattern + "$")
	var found []string
	wait.Until(t, func() error {
		lines := l.lines()
		for i := l.next; i < len(lines); i++ {
			if found = wanted.FindStringSubmatch(lines[i]); found != nil {
				l.next = i + 1
				return nil
			}
		}
		return fmt.Errorf("the guest has not logged %q, but %q", pattern, lines[l.next:])
	})
	return found[len(found)-1]
}
