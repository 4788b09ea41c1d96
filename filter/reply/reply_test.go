package reply_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/reply"
)

type request map[string]string

func (r request) Header(name string) (string, bool) {
	value, ok := r[name]
	return value, ok
}

// The headers are those that the libraries sent, in the versions that envoy/README.md names.
func TestReaderOf(t *testing.T) {
	const stream = "text/event-stream"
	for _, test := range []struct {
		about  string
		sent   request
		reader reply.Reader
	}{
		{"Chromium", request{"accept": stream, "cache-control": "no-cache", "pragma": "no-cache", "user-agent": "Mozilla/5.0 (X11)"}, reply.EventSource},
		{"a browser without pragma", request{"accept": stream, "cache-control": "no-cache", "user-agent": "Mozilla/5.0 (X11)"}, reply.EventSource},
		{"eventsource 4 (Node)", request{"accept": stream, "cache-control": "no-cache", "pragma": "no-cache", "user-agent": "node"}, reply.EventSource},
		{"eventsource 2 (Node)", request{"accept": stream, "cache-control": "no-cache"}, reply.EventSource},
		{"MCP TypeScript", request{"accept": stream, "user-agent": "node", "mcp-protocol-version": "2025-11-25"}, reply.EventSource},
		{"MCP Python", request{"accept": "application/json, " + stream, "cache-control": "no-store", "user-agent": "python-httpx", "mcp-protocol-version": "2025-11-25"}, reply.EventSource},
		{"another case", request{"accept": " Text/Event-Stream ", "cache-control": "no-cache"}, reply.EventSource},

		{"event-source-plus in a browser", request{"accept": stream, "user-agent": "Mozilla/5.0 (X11)"}, reply.Program},
		{"fetch-event-source (Node)", request{"accept": stream, "user-agent": "node"}, reply.Program},
		{"r3labs/sse", request{"accept": stream, "cache-control": "no-cache", "user-agent": "Go-http-client/1.1"}, reply.Program},
		{"sseclient", request{"accept": stream, "cache-control": "no-cache", "user-agent": "python-requests/2"}, reply.Program},
		{"httpx-sse", request{"accept": stream, "cache-control": "no-store", "user-agent": "python-httpx"}, reply.Program},
		{"curl", request{"accept": stream, "user-agent": "curl/8"}, reply.Program},
		{"a POST", request{":method": "POST", "accept": stream, "cache-control": "no-cache", "pragma": "no-cache"}, reply.Program},
		{"an MCP POST", request{":method": "POST", "accept": "application/json, " + stream, "mcp-protocol-version": "2025-11-25"}, reply.Caller},
		{"an MCP DELETE", request{":method": "DELETE", "mcp-protocol-version": "2025-11-25"}, reply.Program},
		{"an MCP GET for something else", request{"accept": "application/json", "mcp-protocol-version": "2025-11-25"}, reply.Program},
		{"other types too", request{"accept": stream + ", application/json", "cache-control": "no-cache", "pragma": "no-cache"}, reply.Program},
		{"a parameter", request{"accept": stream + ";q=1", "cache-control": "no-cache", "pragma": "no-cache"}, reply.Program},
		{"no accept", request{"cache-control": "no-cache", "pragma": "no-cache"}, reply.Program},
	} {
		if _, named := test.sent[":method"]; !named {
			test.sent[":method"] = "GET"
		}
		if got := reply.ReaderOf(test.sent); got != test.reader {
			t.Errorf("%s: reader %v, want %v", test.about, got, test.reader)
		}
	}
}

func TestWantsStream(t *testing.T) {
	for _, test := range []struct {
		method, accept string
		want           bool
	}{
		{"GET", "text/event-stream", true},
		{"GET", " Text/Event-Stream ", true},
		{"GET", "text/event-stream, application/json", true},
		{"POST", "text/event-stream", false},
		{"GET", "*/*", false},
		{"GET", "", false},
		{"HEAD", "text/event-stream", false},
	} {
		if got := reply.WantsStream(test.method, test.accept); got != test.want {
			t.Errorf("%s with accept %q: got %v, want %v", test.method, test.accept, got, test.want)
		}
	}
}

func TestRefusal(t *testing.T) {
	for _, test := range []struct {
		why    policy.Refusal
		to     reply.Reader
		retry  policy.Millis
		status uint32
		after  string // header retry-after
		body   string
	}{
		{policy.Duplicate, reply.EventSource, 15 * policy.Second, 409, "15", `{"reason":"duplicate"}` + "\n"},
		{policy.Superseded, reply.EventSource, 15 * policy.Second, 200, "", "retry: 15000\nevent: streamlatch\ndata: {\"reason\":\"superseded\",\"retry_ms\":15000}\n\n"},
		{policy.TakeoverLimit, reply.EventSource, 1500, 200, "", "retry: 1500\nevent: streamlatch\ndata: {\"reason\":\"takeover_limit\",\"retry_ms\":1500}\n\n"},
		{policy.Overloaded, reply.EventSource, 1, 200, "", "retry: 1\nevent: streamlatch\ndata: {\"reason\":\"overloaded\",\"retry_ms\":1}\n\n"},
		{policy.Contended, reply.EventSource, policy.Second, 200, "", "retry: 1000\nevent: streamlatch\ndata: {\"reason\":\"contended\",\"retry_ms\":1000}\n\n"},
		{policy.TooLong, reply.EventSource, policy.Second, 431, "1", `{"reason":"too_long"}` + "\n"},
		{policy.Duplicate, reply.Program, 15 * policy.Second, 409, "15", `{"reason":"duplicate"}` + "\n"},
		{policy.Superseded, reply.Program, 14001, 409, "15", `{"reason":"superseded"}` + "\n"},
		{policy.TakeoverLimit, reply.Program, 1, 429, "1", `{"reason":"takeover_limit"}` + "\n"},
		{policy.Overloaded, reply.Program, policy.Second, 503, "1", `{"reason":"overloaded"}` + "\n"},
		{policy.Contended, reply.Program, policy.Second, 503, "1", `{"reason":"contended"}` + "\n"},
		{policy.TooLong, reply.Program, policy.Second, 431, "1", `{"reason":"too_long"}` + "\n"},
	} {
		got := reply.Refusal(test.why, test.to, test.retry, "")
		headers := map[string]string{}
		for _, h := range got.Headers {
			headers[h[0]] = h[1]
		}
		contentType := "application/json"
		if test.status == 200 {
			contentType = "text/event-stream"
		}
		// OpenAI's and Anthropic's libraries would wait in silence.
		if forbidden := headers["x-should-retry"] == "false"; forbidden != (test.status != 200 && test.retry > 5*policy.Second) {
			t.Errorf("%v to reader %v, retry %d: x-should-retry %q", test.why, test.to, test.retry, headers["x-should-retry"])
		}
		if got.Status != test.status || string(got.Body) != test.body || headers["retry-after"] != test.after ||
			headers["cache-control"] != "no-store" || headers["content-type"] != contentType ||
			(headers[reply.Marker] == test.why.String()) != (test.status == 200) {
			t.Errorf("%v to reader %v: status %d, headers %v, body %q; want status %d, retry-after %q, body %q",
				test.why, test.to, got.Status, got.Headers, got.Body, test.status, test.after, test.body)
		}
	}
}

// A client must not lose its place in the stream to a refusal. What cannot be told again is left
// out.
func TestRefusalKeepsTheLastEventID(t *testing.T) {
	const event = "retry: 1000\nevent: streamlatch\ndata: {\"reason\":\"superseded\",\"retry_ms\":1000}\n\n"
	for _, test := range []struct{ id, want string }{
		{"", event},
		{"42", "id: 42\n" + event},
		{" é:\xff", "id:  é:\xff\n" + event},
		{"4\n2", event},
		{"4\r2", event},
		{"4\x002", event},
		{strings.Repeat("4", 1024), "id: " + strings.Repeat("4", 1024) + "\n" + event},
		{strings.Repeat("4", 1025), event},
	} {
		if got := string(reply.Refusal(policy.Superseded, reply.EventSource, policy.Second, test.id).Body); got != test.want {
			t.Errorf("last event id %q: got %q, want %q", test.id, got, test.want)
		}
		if got := string(reply.Refusal(policy.Superseded, reply.Program, policy.Second, test.id).Body); strings.Contains(got, "id:") {
			t.Errorf("last event id %q: a program gets %q", test.id, got)
		}
	}
}

// As in the tables of the Fetch standard, section 2.2.2 and "extract a MIME type".
func TestIsEventStream(t *testing.T) {
	for contentType, want := range map[string]bool{
		"text/event-stream":                                  true,
		" Text/Event-Stream ; charset=utf-8":                 true,
		"text/event-stream,text/event-stream":                true,
		"text/event-stream;charset=utf-8, text/event-stream": true,
		"text/html, text/event-stream":                       true, // the last one counts
		"text/event-stream, text/html":                       false,
		"text/event-stream, */*":                             true,
		"text/event-stream, nonsense":                        true,
		"text/event-stream, a b/c":                           true,
		"text/event-stream,":                                 true,
		",":                                                  false,
		"":                                                   false,
		"text/event-streams":                                 false,
		"text/event-stream/x":                                false,
		"text/event-stream x":                                false,
		`text/html;a="b,text/event-stream"`:                  false,
		`text/html;a="\",text/event-stream"`:                 false,
		`text/html;a="\\",text/event-stream`:                 true,
		"application/json":                                   false,
	} {
		if got := reply.IsEventStream(contentType); got != want {
			t.Errorf("content-type %q: got %v, want %v", contentType, got, want)
		}
	}
}

func TestGoodbyeWithoutRetry(t *testing.T) {
	if got, want := string(reply.Goodbye("expired", 0)), "event: streamlatch\ndata: {\"reason\":\"expired\"}\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAtEventEnd tries every tail of line ends and letters. The reference splits the text into
// lines.
func TestAtEventEnd(t *testing.T) {
	tails := []string{""}
	for range reply.TailSize {
		var longer []string
		for _, tail := range tails {
			for _, c := range []string{"x", "\n", "\r"} {
				longer = append(longer, tail+c)
			}
		}
		tails = append(tails, longer...)
	}
	ends := 0
	for _, tail := range tails {
		lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll("x"+tail, "\r\n", "\n"), "\r", "\n"), "\n")
		n := len(lines)
		want := n >= 3 && lines[n-1] == "" && lines[n-2] == ""
		if got := reply.AtEventEnd([]byte(tail)); got != want {
			t.Errorf("tail %q: %v, want %v", tail, got, want)
		}
		if want {
			ends++
		}
	}
	if ends < 20 {
		t.Errorf("only %d tails are at the end of an event, want at least 20", ends)
	}
}

func ExampleGoodbye() {
	fmt.Printf("%q\n", reply.Goodbye("superseded", 15*policy.Second))
	// Output:
	// "retry: 15000\nevent: streamlatch\ndata: {\"reason\":\"superseded\",\"retry_ms\":15000}\n\n"
}
