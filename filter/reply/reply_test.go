package reply_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/reply"
)

func TestReaderOf(t *testing.T) {
	for _, test := range []struct {
		method, accept string
		reader         reply.Reader
		wantsStream    bool
	}{
		{"GET", "text/event-stream", reply.EventSource, true},
		{"GET", " Text/Event-Stream ", reply.EventSource, true},
		{"GET", "text/event-stream, application/json", reply.Program, true},
		{"GET", "text/event-stream;q=1", reply.Program, true},
		{"POST", "text/event-stream", reply.Program, false},
		{"POST", "application/json, text/event-stream", reply.Program, false},
		{"GET", "*/*", reply.Program, false},
		{"GET", "", reply.Program, false},
		{"HEAD", "text/event-stream", reply.Program, false},
		{"OPTIONS", "text/event-stream", reply.Program, false},
	} {
		if got := reply.ReaderOf(test.method, test.accept); got != test.reader {
			t.Errorf("%s with accept %q: reader %v, want %v", test.method, test.accept, got, test.reader)
		}
		if got := reply.WantsStream(test.method, test.accept); got != test.wantsStream {
			t.Errorf("%s with accept %q: WantsStream is %v, want %v", test.method, test.accept, got, test.wantsStream)
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
		{policy.Superseded, reply.EventSource, 15 * policy.Second, 200, "", "retry: 15000\nevent: streamlatch\ndata: {\"reason\":\"superseded\"}\n\n"},
		{policy.TakeoverLimit, reply.EventSource, 1500, 200, "", "retry: 1500\nevent: streamlatch\ndata: {\"reason\":\"takeover_limit\"}\n\n"},
		{policy.Overloaded, reply.EventSource, 1, 200, "", "retry: 1\nevent: streamlatch\ndata: {\"reason\":\"overloaded\"}\n\n"},
		{policy.Contended, reply.EventSource, policy.Second, 200, "", "retry: 1000\nevent: streamlatch\ndata: {\"reason\":\"contended\"}\n\n"},
		{policy.Duplicate, reply.Program, 15 * policy.Second, 409, "15", `{"reason":"duplicate"}` + "\n"},
		{policy.Superseded, reply.Program, 14001, 409, "15", `{"reason":"superseded"}` + "\n"},
		{policy.TakeoverLimit, reply.Program, 1, 429, "1", `{"reason":"takeover_limit"}` + "\n"},
		{policy.Overloaded, reply.Program, policy.Second, 503, "1", `{"reason":"overloaded"}` + "\n"},
		{policy.Contended, reply.Program, policy.Second, 503, "1", `{"reason":"contended"}` + "\n"},
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
	const event = "retry: 1000\nevent: streamlatch\ndata: {\"reason\":\"superseded\"}\n\n"
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
	// Output: "retry: 15000\nevent: streamlatch\ndata: {\"reason\":\"superseded\"}\n\n"
}
