//go:build sdks

package sdks

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

const (
	noticeSessions  = 10
	noticeTakeovers = 4 // in a session: the rule's takeover_limit allows five
)

// notice measures how long a server needs to notice that a listening stream has ended: until then
// it answers 409 to the next one. With claim_at: request the old stream has ended in Envoy before
// the server gets the new request. The recipe's retries must cover the rest.
func notice(t *testing.T, url string) {
	t.Helper()
	late, most := 0, 1 // newcomers that came too early for the server, and the tries that one needed
	var slowest time.Duration
	for range noticeSessions {
		session := newSession(t, url)
		streams := []*http.Response{listen(t, url, session)}
		for range noticeTakeovers {
			began := time.Now()
			newcomer := listen(t, url, session)
			took := time.Since(began)
			streams = append(streams, newcomer)
			tries, err := strconv.Atoi(newcomer.Header.Get(attempts))
			if newcomer.StatusCode != http.StatusOK || err != nil {
				t.Fatalf("a newcomer got status %d (%v) after %v", newcomer.StatusCode, err, took)
			}
			if most = max(most, tries); tries > 1 {
				late++
				slowest = max(slowest, took)
			}
		}
		for _, s := range streams {
			s.Body.Close()
		}
	}
	t.Logf("all of %d newcomers came in; %d came before the server had noticed the end, and with up to %d tries the slowest was in after %v",
		noticeSessions*noticeTakeovers, late, most, slowest.Round(time.Millisecond))
}

// attempts is the header in which countAttempts lets Envoy tell how often it has tried.
const attempts = "X-Envoy-Attempt-Count"

var countAttempts = rig.Replace("              domains: [\"*\"]\n", "              domains: [\"*\"]\n              include_attempt_count_in_response: true\n")

// apart opens a connection for each request.
var apart = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// request sends a request of MCP. The end of the test ends its response.
func request(t *testing.T, method, url, session, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	if method == http.MethodPost {
		r.Header.Set("Accept", "application/json, text/event-stream")
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("MCP-Protocol-Version", "2025-11-25")
	if session != "" {
		r.Header.Set("MCP-Session-Id", session)
	}
	response, err := apart.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// newSession makes a session as a client of MCP does.
func newSession(t *testing.T, url string) string {
	t.Helper()
	made := request(t, http.MethodPost, url, "", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{
		"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"sdks","version":"1"}}}`)
	answer, err := io.ReadAll(made.Body)
	session := made.Header.Get("Mcp-Session-Id")
	if session == "" || err != nil {
		t.Fatalf("initialize: got status %d, %s, %v", made.StatusCode, answer, err)
	}
	ready := request(t, http.MethodPost, url, session, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	if _, err := io.Copy(io.Discard, ready.Body); err != nil {
		t.Fatal(err)
	}
	return session
}

func listen(t *testing.T, url, session string) *http.Response {
	t.Helper()
	return request(t, http.MethodGet, url, session, "")
}
