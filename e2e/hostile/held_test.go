package hostile

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// held has rules whose clients come back before their wait is over: the filter holds their
// requests. A call of MCP waits for its body, too, before it is refused.
const held = `{"rules": [
	{"name": "held", "match": {"path": {"prefix": "/held/"}}, "client": [{"query": "client"}], "on_duplicate": "reject_new", "retry": "10m"},
	{"name": "call", "match": {"path": {"prefix": "/call/"}}, "client": [{"query": "client"}], "on_duplicate": "reject_new", "retry": "10m", "claim_at": "request"}
]}`

// refusals are what the access log tells of refused requests.
type refusals struct{ atOnce, held int }

// refusalsOf reads the access log. A request that was held has taken a second at least.
func refusalsOf(t *testing.T, r *rig.Rig) (n refusals) {
	t.Helper()
	for _, line := range r.Access.Lines() {
		var l struct {
			Reason   string
			Duration int `json:"duration_ms"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch {
		case l.Reason != "refused_duplicate":
		case l.Duration >= 1000:
			n.held++
		default:
			n.atOnce++
		}
	}
	return n
}

// wantNothingLeft waits until no stream is left, and checks that the filter has nothing to complain
// of.
func wantNothingLeft(t *testing.T, r *rig.Rig) {
	t.Helper()
	wait.Until(t, func() error {
		m := rigtest.Metrics(t, r)
		if m["held.active"] != 0 || m["call.active"] != 0 {
			return fmt.Errorf("active: got %d and %d, want 0", m["held.active"], m["call.active"])
		}
		return nil
	})
	for _, name := range []string{"malformed", "swept", "contended"} {
		if got := rigtest.Metrics(t, r)[name]; got != 0 {
			t.Errorf("%s: got %d, want 0", name, got)
		}
	}
	rigtest.WantNoLeaks(t, r)
}

// running waits until Envoy has at least so many requests and streams.
func running(t *testing.T, r *rig.Rig, n uint64) {
	t.Helper()
	wait.Until(t, func() error {
		if got := rigtest.StatsUnder(t, r, "http.edge.")["downstream_rq_active"]; got < n {
			return fmt.Errorf("got %d requests and streams, want %d", got, n)
		}
		return nil
	})
}

// A crowd comes back at once. A bounded number of its requests is held, all others are answered,
// and who is not refused does not wait for them. Those who are held hang up, and the crowd comes
// again: then as many are held.
func TestCrowdIsHeld(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: held, LogFlush: 100 * time.Millisecond})
	const crowd = 1500 // more than a worker holds
	conns := make([]*rig.Conn, 30)
	for i := range conns {
		conns[i] = rigtest.Dial(t, r, rig.HTTP2, 0)
	}
	clients := rigtest.NewClients(crowd)
	var streams []*rig.Stream
	ask := func(ctx context.Context, i int) {
		response, err := conns[i%len(conns)].Do(ctx, rigtest.Get("held", clients[i]))
		if ctx.Err() == nil && (err != nil || response.Status != http.StatusConflict) {
			t.Errorf("a request of the crowd: got %v (%v), want status 409", response, err)
		}
	}
	for i, client := range clients {
		streams = append(streams, rigtest.Open(t, conns[i%len(conns)], rigtest.Get("held", client)))
	}
	for i := range crowd {
		ask(t.Context(), i)
	}
	before := refusalsOf(t, r)
	come := func(ctx context.Context) *sync.WaitGroup {
		var answers sync.WaitGroup
		for i := range crowd {
			answers.Go(func() { ask(ctx, i) })
		}
		return &answers
	}

	impatient, hangUp := context.WithCancel(t.Context())
	answers := come(impatient)
	running(t, r, crowd+crowd/4)
	newcomer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("held", rigtest.NewClient()))
	rigtest.WantFlow(t, r, newcomer)
	newcomer.Close()
	hangUp()
	answers.Wait()

	come(t.Context()).Wait()
	for _, s := range streams {
		s.Close()
	}
	wantNothingLeft(t, r)
	if got := refusalsOf(t, r); got.held-before.held < crowd/4 {
		t.Errorf("%+v were refused, and before that %+v, want more of them held", got, before)
	}
}

// openRaw sends text on a connection of its own.
func openRaw(t *testing.T, r *rig.Rig, text string) (net io.ReadWriteCloser, in *bufio.Reader) {
	t.Helper()
	conn, err := r.DialTCP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// The second request on a connection is there before the first, which is held, has its answer. Both
// are answered, in order.
func TestPipelineIsHeld(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: held, LogFlush: 100 * time.Millisecond})
	client := rigtest.NewClient()
	s := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("held", client))
	rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("held", client))
	_, in := openRaw(t, r, strings.Repeat(asText(client, "/held/?client="+client), 3))
	for i := range 3 {
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusConflict {
			t.Errorf("request %d: got status %d and %q (%v), want 409", i, response.StatusCode, body, err)
		}
	}
	rigtest.WantFlow(t, r, s)
	s.Close()
	wantNothingLeft(t, r)
	if got := refusalsOf(t, r); got.held != 3 {
		t.Errorf("%+v were refused, want 3 held", got)
	}
}

// asCall returns the headers of a call of MCP.
func asCall(client string, more ...string) string {
	return strings.Join(append([]string{"POST /call/?client=" + client + " HTTP/1.1", "Host: x", "Accept: application/json, text/event-stream",
		"Content-Type: application/json", "MCP-Protocol-Version: 2025-11-25"}, more...), "\r\n") + "\r\n\r\n"
}

// Bodies of calls that are to be refused come slowly, never end, or are huge. What is never whole
// holds no place; what is too large is refused before it has come.
func TestBodiesOfRefusedCalls(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: held, LogFlush: 100 * time.Millisecond})
	client := rigtest.NewClient()
	q := rigtest.Get("call", client)
	s := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), q)

	const slow = 300
	for range slow {
		openRaw(t, r, asCall(client, "Content-Length: 1000")+`{"jsonrpc":"2.0",`)
	}
	huge, in := openRaw(t, r, asCall(client, "Transfer-Encoding: chunked"))
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat(" ", 64<<10))
	go func() {
		for {
			if _, err := io.WriteString(huge, chunk); err != nil {
				return
			}
		}
	}()
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusConflict {
		t.Errorf("a body that never ends: got %v (%v), want 409", response, err)
	}
	rigtest.WantFlow(t, r, s)
	s.Close()
	wantNothingLeft(t, r)
}

// A VM crashes while it holds requests. Nothing in Envoy goes on with them, except the
// request_timeout of the http_connection_manager, if there is one. Its 408 becomes a 503, as it
// passes the dead VM.
func TestCrashWhileHeld(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: held, Module: rig.Guest("crash"),
		Edits: []rig.Edit{rig.Replace("          normalize_path: true\n", "          normalize_path: true\n          request_timeout: 10s\n")}})
	client := rigtest.NewClient()
	s := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("held", client))
	rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("held", client))
	var answers sync.WaitGroup
	for _, p := range []rig.Protocol{rig.HTTP1, rig.HTTP2} {
		conn := rigtest.Dial(t, r, p, 0)
		answers.Go(func() {
			response, err := conn.Do(t.Context(), rigtest.Get("held", client))
			if err != nil || response.Status != http.StatusServiceUnavailable {
				t.Errorf("%v: got %v (%v), want status 503", p, response, err)
			}
		})
	}
	running(t, r, 3)
	crash := rigtest.Get("held", rigtest.NewClient())
	crash.Header = map[string]string{"x-crash": "now"}
	if got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), crash).Status; got != http.StatusServiceUnavailable {
		t.Fatalf("the request that crashes the filter: got status %d, want 503", got)
	}
	answers.Wait()
	r.Backend.Send(s.ID, "are you there?")
	rigtest.WantEnd(t, s, rig.Reset)

	// The new VM has the brake of a new VM.
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Get("held", rigtest.NewClient()))
	rigtest.WantFlow(t, r, newer)
	newer.Close()
	wait.Until(t, func() error {
		if got := rigtest.Metrics(t, r)["held.active"]; got != 0 {
			return fmt.Errorf("held.active: got %d, want 0", got)
		}
		return nil
	})
}
