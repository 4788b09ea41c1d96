// Package hostile tests requests that an attacker might send to a real Envoy: forged and oversized
// ones, floods of clients and storms of streams. It also tests a crash of the filter.
package hostile

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// What clients send is theirs to choose. Nothing of it crashes the filter, stays in its memory or
// gets into a log.

// Clients choose what they send. None of it may crash the filter, stay in its memory, or appear in
// a log.
const hostileRules = `{"rules": [
	{"name": "cookie", "match": {"path": {"prefix": "/cookie/"}}, "client": [{"cookie": "session"}], "takeover_limit": false},
	{"name": "query",  "match": {"path": {"prefix": "/query/"}},  "client": [{"query": "client"}],   "takeover_limit": false},
	{"name": "header", "match": {"path": {"prefix": "/header/"}}, "client": [{"header": "x-user"}],  "takeover_limit": false, "instance": [{"header": "x-tab"}]}
]}`

// roomy raises Envoy's limits, so the filter sees requests that Envoy would reject.
var roomy = rig.Replace("          normalize_path: true\n", `          normalize_path: true
          max_request_headers_kb: 512
          common_http_protocol_options: {max_headers_count: 2000}
`)

// wantCalm checks that no stream is left in the registry, stops Envoy, and checks that its log has
// no complaint of the filter and no client id.
func wantCalm(t *testing.T, r *rig.Rig) {
	t.Helper()
	for _, rule := range []string{"cookie", "query", "header"} {
		wait.Until(t, func() error {
			if got := rigtest.Metrics(t, r)[rule+".active"]; got != 0 {
				return fmt.Errorf("%s.active: got %d, want 0", rule, got)
			}
			return nil
		})
	}
	for _, name := range []string{"malformed", "swept", "contended"} {
		if got := rigtest.Metrics(t, r)[name]; got != 0 {
			t.Errorf("%s: got %d, want 0", name, got)
		}
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	for _, line := range r.Log.Lines() {
		if entry, ok := proxy.ParseLogEntry(line); ok && entry.Logger == "wasm" && entry.Alarming() {
			t.Errorf("log: want no complaint of the filter, got %s", line)
		}
	}
	if found := rigtest.Leaks(r); len(found) > 0 {
		t.Errorf("logs: want no client id, got\n%s", strings.Join(found, "\n"))
	}
}

// opened is an event stream on its own connection, whose request was sent as text.
type opened struct {
	conn io.Closer
	in   *bufio.Reader
	body io.Reader
}

// openText sends the text of an HTTP/1.1 request. It returns the status of the response, and the
// stream if the status is 200.
func openText(t *testing.T, r *rig.Rig, request string) (int, *opened) {
	t.Helper()
	conn, err := r.DialTCP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatalf("response to %.200q: %v", request, err)
	}
	if response.StatusCode != 200 {
		conn.Close()
		return response.StatusCode, nil
	}
	return 200, &opened{conn, in, response.Body}
}

var textIDs = struct {
	sync.Mutex
	last int
}{}

// asText returns the text of a request for an event stream, with these additional header lines.
func asText(client, target string, lines ...string) string {
	textIDs.Lock()
	textIDs.last--
	id := textIDs.last
	textIDs.Unlock()
	all := append([]string{"GET " + target + " HTTP/1.1", "Host: x", "Accept: text/event-stream",
		"X-Rig-Client: " + client, fmt.Sprintf("X-Rig-Stream: %d", id)}, lines...)
	return strings.Join(all, "\r\n") + "\r\n\r\n"
}

// wantOneClient opens a stream with each of two requests. It checks that both belong to one client
// if same is true, and otherwise to two.
func wantOneClient(t *testing.T, r *rig.Rig, rule, one, other string, same bool) {
	t.Helper()
	before := rigtest.CountsOf(rigtest.Metrics(t, r), rule)
	status, first := openText(t, r, one)
	if status != 200 {
		t.Errorf("%.100q: got status %d, want 200", one, status)
		return
	}
	rigtest.WantCountsSince(t, r, rule, before, rigtest.Counts{Opened: 1, Active: 1})
	status, second := openText(t, r, other)
	if status != 200 {
		t.Errorf("%.100q: got status %d, want 200", other, status)
		return
	}
	if same {
		if _, err := io.Copy(io.Discard, first.body); err != io.ErrUnexpectedEOF {
			t.Errorf("the first stream: got the end %v, want a reset", err)
		}
		rigtest.WantCountsSince(t, r, rule, before, rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})
	} else {
		rigtest.WantCountsSince(t, r, rule, before, rigtest.Counts{Opened: 2, Active: 2})
	}
	first.conn.Close()
	second.conn.Close()
	wait.Until(t, func() error {
		if got := rigtest.CountsOf(rigtest.Metrics(t, r), rule).Active; got != before.Active {
			return fmt.Errorf("%s.active: got %d, want %d", rule, got, before.Active)
		}
		return nil
	})
}

func TestHostileRequests(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: hostileRules, LogLevel: "wasm:debug", Edits: []rig.Edit{roomy}})
	long := strings.Repeat("x", 64<<10)

	t.Run("a cookie of 64 KiB", func(t *testing.T) {
		c := rigtest.NewClient()
		cookie := func(end string) string { return asText(c, "/cookie/", "Cookie: theme=dark; session="+c+long+end) }
		wantOneClient(t, r, "cookie", cookie(""), cookie(""), true)
		wantOneClient(t, r, "cookie", cookie(""), cookie("x"), false)
		wantOneClient(t, r, "cookie", asText(c, "/cookie/", "Cookie: junk="+long+"; session="+c), asText(c, "/cookie/", "Cookie: session="+c), true)
		wantOneClient(t, r, "cookie", asText(c, "/cookie/", "Cookie: "+strings.Repeat("a=b;", 16<<10)+"session="+c), asText(c, "/cookie/", "Cookie: session="+c), true)
	})
	t.Run("two cookie headers", func(t *testing.T) {
		a, b := rigtest.NewClient(), rigtest.NewClient()
		// It does not matter which one counts, but it must always be the same: otherwise one
		// request could be two clients.
		two := asText(a, "/cookie/", "Cookie: session="+a, "Cookie: session="+b)
		wantOneClient(t, r, "cookie", two, asText(a, "/cookie/", "Cookie: session="+a), true)
		wantOneClient(t, r, "cookie", two, asText(a, "/cookie/", "Cookie: session="+b), false)
	})
	t.Run("two headers", func(t *testing.T) {
		a, b := rigtest.NewClient(), rigtest.NewClient()
		two := asText(a, "/header/", "X-User: "+a, "X-User: "+b)
		wantOneClient(t, r, "header", two, asText(a, "/header/", "X-User: "+a), true)
		wantOneClient(t, r, "header", two, asText(a, "/header/", "X-User: "+b), false)
	})
	t.Run("thousands of parameters", func(t *testing.T) {
		c := rigtest.NewClient()
		many := "/query/?" + strings.Repeat("a=b&", 5000) + strings.Repeat("&", 5000) + "%zz=1&clien%=%f&clien=x&%63lient=" + c
		wantOneClient(t, r, "query", asText(c, many), asText(c, "/query/?client="+c), true)
	})
	t.Run("a very long path", func(t *testing.T) {
		c := rigtest.NewClient()
		wantOneClient(t, r, "query", asText(c, "/query/"+long+"?client="+c+long), asText(c, "/query/?client="+c+long), true)
		wantOneClient(t, r, "query", asText(c, "/query/"+strings.Repeat("../query/", 5000)+"?client="+c), asText(c, "/query/?client="+c), true)
	})
	t.Run("bytes that are not text", func(t *testing.T) {
		c := rigtest.NewClient()
		wantOneClient(t, r, "query", asText(c, "/query/?client="+c+"%00a"), asText(c, "/query/?client="+c+"%00a"), true)
		wantOneClient(t, r, "query", asText(c, "/query/?client="+c+"%00a"), asText(c, "/query/?client="+c+"%00b"), false)
		wantOneClient(t, r, "query", asText(c, "/query/?client="+c+"%ff%fe"), asText(c, "/query/?client="+c+"%FF%FE"), true)
		wantOneClient(t, r, "query", asText(c, "/query/?client="+c+"%ff"), asText(c, "/query/?client="+c+"%ef%bf%bd"), false)
		wantOneClient(t, r, "query", asText(c, "/query/?client="+c+"%0d%0ax"), asText(c, "/query/?client="+c+"%0d%0ax"), true)
		wantOneClient(t, r, "header", asText(c, "/header/", "X-User: "+c+"\xff\xfe\x80"), asText(c, "/header/", "X-User: "+c+"\xff\xfe\x80"), true)
		wantOneClient(t, r, "header", asText(c, "/header/", "X-User: "+c+"\xff"), asText(c, "/header/", "X-User: "+c+"\xfe"), false)
		// Envoy itself rejects a NUL in a header.
		if status, _ := openText(t, r, asText(c, "/header/", "X-User: "+c+"\x00")); status != 400 {
			t.Errorf("a NUL in a header: got status %d, want 400", status)
		}
	})
	t.Run("a flood of headers", func(t *testing.T) {
		c := rigtest.NewClient()
		var lines []string
		for i := range 1000 {
			lines = append(lines, fmt.Sprintf("X-Flood-%d: %d", i, i))
		}
		// The filter must find the key among many headers.
		wantOneClient(t, r, "header", asText(c, "/header/", append(lines, "X-User: "+c)...), asText(c, "/header/", "X-User: "+c), true)
		wantOneClient(t, r, "header", asText(c, "/header/", "X-User: "+c, "X-Tab: "+long), asText(c, "/header/", "X-User: "+c, "X-Tab: "+long), true)
	})
	t.Run("many keys that differ in a few bits", func(t *testing.T) {
		// If the hash ignored a part of the key, two of these clients would share their streams.
		conn := rigtest.Dial(t, r, rig.HTTP2, 0)
		before := rigtest.CountsOf(rigtest.Metrics(t, r), "query")
		client := rigtest.NewClient()
		var streams []*rig.Stream
		for i := range 256 {
			key := make([]byte, 8)
			binary.LittleEndian.PutUint64(key, uint64(i)<<(i%57))
			escaped := "%" + strings.Join(slices.Collect(pairs(hex.EncodeToString(key))), "%")
			streams = append(streams, rigtest.Open(t, conn, rig.Request{Client: client, Path: fmt.Sprintf("/query/?client=%s%d%s", rigtest.RawID, i, escaped)}))
		}
		rigtest.WantCountsSince(t, r, "query", before, rigtest.Counts{Opened: 256, Active: 256})
		for _, s := range streams {
			s.Close()
		}
	})
	wantCalm(t, r)
}

// pairs yields the hexadecimal digits of each byte.
func pairs(digits string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := 0; i+2 <= len(digits); i += 2 {
			if !yield(digits[i : i+2]) {
				return
			}
		}
	}
}

// With the shipped limits Envoy rejects such requests before the filter sees them.
func TestEnvoyStopsOversizedRequests(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: hostileRules, LogLevel: "wasm:debug"})
	c := rigtest.NewClient()
	long := strings.Repeat("x", 64<<10)
	var flood []string
	for i := range 120 {
		flood = append(flood, fmt.Sprintf("X-Flood-%d: %d", i, i))
	}
	for about, request := range map[string]string{
		"a cookie of 64 KiB": asText(c, "/cookie/", "Cookie: session="+c+long),
		"a path of 64 KiB":   asText(c, "/query/?client="+c+long),
		"120 headers":        asText(c, "/header/", append(flood, "X-User: "+c)...),
	} {
		if status, _ := openText(t, r, request); status != 431 {
			t.Errorf("%s: got status %d, want 431", about, status)
		}
	}
	if n := r.Backend.Asked(c); n != 0 {
		t.Errorf("got %d requests at the backend, want 0", n)
	}
	for name, n := range rigtest.Metrics(t, r) {
		if n != 0 {
			t.Errorf("%s: got %d, want 0", name, n)
		}
	}
	// Requests within the limits reach the filter.
	almost := strings.Repeat("x", 50<<10)
	wantOneClient(t, r, "cookie", asText(c, "/cookie/", "Cookie: session="+c+almost), asText(c, "/cookie/", "Cookie: session="+c+almost), true)
	wantOneClient(t, r, "header", asText(c, "/header/", append(flood[:80:80], "X-User: "+c)...), asText(c, "/header/", "X-User: "+c), true)
	wantCalm(t, r)
}

// New clients come without end, each with one stream. Nothing is left in memory of those that have
// gone.
func TestFloodOfClients(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: hostileRules, LogLevel: "wasm:debug"})
	const half, senders = 10_000, 16
	var conns []*rig.Conn
	for i := range 4 {
		conns = append(conns, rigtest.Dial(t, r, rig.HTTP2, i%2))
	}
	flood := func() {
		var all sync.WaitGroup
		for i := range senders {
			all.Go(func() {
				for range half / senders {
					q := rigtest.Get("query", rigtest.NewClient())
					q.Answer = rig.Brief
					response, err := conns[i%len(conns)].Do(t.Context(), q)
					if err != nil || response.Status != 200 {
						t.Errorf("got %v, %v; want status 200", response, err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	// allocated returns Envoy's memory. Envoy updates the figure when it flushes its statistics, so
	// this waits for the next flush.
	allocated := func() uint64 {
		before := rigtest.StatsUnder(t, r, "server.")["uptime"]
		var now map[string]uint64
		wait.Until(t, func() error {
			if now = rigtest.StatsUnder(t, r, "server."); now["uptime"] <= before {
				return fmt.Errorf("no flush of the statistics since %d s of uptime", before)
			}
			return nil
		})
		return now["memory_allocated"]
	}
	flood()
	if t.Failed() {
		return
	}
	rigtest.WantCounts(t, r, "query", rigtest.Counts{Opened: half, Released: half})
	before := allocated()
	flood()
	rigtest.WantCounts(t, r, "query", rigtest.Counts{Opened: 2 * half, Released: 2 * half})
	// The registry creates a bucket when the first client falls into it. The number of buckets is
	// limited, so this growth ends: successive floods added 652, 375, 237 and 212 KB. Memory that
	// stayed for each client would not stop growing. The figure does not include the memory of the
	// guests.
	if after := allocated(); before == 0 || after > before+half*100 {
		t.Errorf("Envoy's memory before and after %d more clients: got %d and %d bytes, want at most 100 bytes more for each", half, before, after)
	}

	// Many clients at the same time.
	const crowd = 1000
	var streams []*rig.Stream
	for i := range crowd {
		streams = append(streams, rigtest.Open(t, conns[i%len(conns)], rigtest.Get("query", rigtest.NewClient())))
	}
	rigtest.WantCounts(t, r, "query", rigtest.Counts{Opened: 2*half + crowd, Released: 2 * half, Active: crowd})
	for _, s := range streams {
		s.Close()
	}
	rigtest.WantCounts(t, r, "query", rigtest.Counts{Opened: 2*half + crowd, Released: 2*half + crowd})
	wantCalm(t, r)
}
