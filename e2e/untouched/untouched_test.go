package untouched

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// withoutFilter removes the filter from the shipped configuration.
var withoutFilter = []rig.Edit{
	rig.AnyPath,
	rig.Remove("          - name: envoy.filters.http.wasm\n", "          - name: envoy.filters.http.router\n"),
	rig.Remove("                typed_per_filter_config:\n", "              - name: other\n"),
}

// everywhere enables the filter on every route.
var everywhere = rig.Replace("            disabled: true\n", "")

// A request that is not for an event stream passes as if there were no filter: every byte of the
// response, and of the request at the backend. This holds on routes where the filter is disabled,
// which must not even call it, and also if it is enabled on every route.
func TestOthersAreUntouched(t *testing.T) {
	t.Parallel()
	// The rule matches all requests of this test, and every second one of them has a client key.
	const rule = `{"rules": [{"name": "plain", "client": [{"header": "x-user"}]}]}`
	bare := rigtest.Start(t, rig.Options{Concurrency: 1, Edits: withoutFilter})
	all := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: rule, Edits: []rig.Edit{everywhere}})
	shipped := shared.Rig(t)

	entered := func(r *rig.Rig) uint64 { return rigtest.Metrics(t, r)["plain.no_key"] }
	for _, request := range plainRequests() {
		want := exchange(t, bare, request.text)
		t.Run("filter as shipped, "+request.name, func(t *testing.T) {
			before := entered(shipped)
			wantSame(t, exchange(t, shipped, request.text), want)
			wantEntered := uint64(0)
			if request.candidate && !request.keyed {
				wantEntered = 1
			}
			if got := entered(shipped) - before; got != wantEntered {
				t.Errorf("no_key: got %d more, want %d", got, wantEntered)
			}
		})
		t.Run("filter everywhere, "+request.name, func(t *testing.T) {
			before := entered(all)
			wantSame(t, exchange(t, all, request.text), want)
			wantEntered := uint64(1)
			if request.keyed {
				wantEntered = 0
			}
			if got := entered(all) - before; got != wantEntered {
				t.Errorf("no_key: got %d more, want %d", got, wantEntered)
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		request := rig.Request{Method: "POST", Path: "/plain/?q=1", Body: "hello", Answer: rig.Echo, Header: map[string]string{
			"Accept": "application/json", "X-User": rigtest.NewClient(), "X-Rig-Stream": "1"}}
		want := rigtest.Do(t, rigtest.Dial(t, bare, rig.HTTP2, 0), request)
		for _, r := range []*rig.Rig{shipped, all} {
			got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP2, 0), request)
			wantSame(t, mask(got.Body), mask(want.Body))
			for _, h := range []http.Header{got.Header, want.Header} {
				h.Del("date")
				h.Del("x-envoy-upstream-service-time")
			}
			wantSame(t, fmt.Sprint(got.Status, got.Header), fmt.Sprint(want.Status, want.Header))
		}
	})
	for _, r := range []*rig.Rig{shipped, all} {
		rigtest.WantCounts(t, r, "plain", rigtest.Counts{})
	}
}

type plainRequest struct {
	name      string
	text      string // the bytes of the request, in HTTP/1.1
	candidate bool   // it asks for an event stream, so its route has the filter
	keyed     bool   // it has a client key
}

func plainRequests() []plainRequest {
	var requests []plainRequest
	for _, r := range []struct {
		method string
		answer rig.Answer
		body   string
	}{
		{"GET", rig.Echo, ""},
		{"GET", rig.JSON, ""},
		{"GET", rig.Unauthorized, ""},
		{"GET", rig.Unavailable, ""},
		{"HEAD", rig.Events, ""},
		{"POST", rig.Echo, `{"a": 1}`},
		{"DELETE", rig.Echo, ""},
	} {
		for _, candidate := range []bool{false, true} {
			for _, keyed := range []bool{false, true} {
				lines := []string{
					r.method + " /plain/some%20path?q=1&client=2&%zz HTTP/1.1", "Host: example.org", "Connection: close",
					"X-Rig-Answer: " + string(r.answer), "X-Twice: one", "X-TWICE: two", "Cookie: a=b", "Cookie: c=d",
				}
				name := fmt.Sprintf("%s answered %q", r.method, r.answer)
				if candidate {
					lines = append(lines, "Accept: text/event-stream")
					name += ", accepts events"
				}
				if keyed {
					lines = append(lines, "X-User: "+rigtest.RawID+"x")
					name += ", with a key"
				}
				if r.body != "" {
					lines = append(lines, fmt.Sprintf("Content-Length: %d", len(r.body)))
				}
				text := strings.Join(lines, "\r\n") + "\r\n\r\n" + r.body
				requests = append(requests, plainRequest{name, text, candidate, keyed})
			}
		}
	}
	return requests
}

// exchange is [rigtest.Exchange] without the parts that differ each time.
func exchange(t *testing.T, r *rig.Rig, request string) string {
	t.Helper()
	return mask(rigtest.Exchange(t, r, request))
}

// differing matches what differs in every exchange: times, and the id that Envoy gives to a
// request.
var differing = regexp.MustCompile(`(?i)(date: |x-envoy-upstream-service-time: |x-request-id: )[^\r\n]*`)

func mask(s string) string { return differing.ReplaceAllString(s, "${1}…") }

func wantSame(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got, with the filter:\n%s\nwant, as without the filter:\n%s", got, want)
	}
}

// A connection is used again after a response that was not an event stream, and after an event
// stream that has ended in an orderly way, even if the client sends all requests at once.
func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	client := rigtest.NewClient()
	conn, err := r.DialTCP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait.Patience)); err != nil {
		t.Fatal(err)
	}
	line := func(id int, answer rig.Answer) string {
		return fmt.Sprintf("GET /reuse/?client=%s HTTP/1.1\r\nHost: example.org\r\nAccept: text/event-stream\r\n"+
			"X-Rig-Client: %s\r\nX-Rig-Stream: %d\r\nX-Rig-Answer: %s\r\n\r\n", client, client, -id, answer)
	}
	pipelined := []rig.Answer{rig.JSON, rig.Brief, rig.Unauthorized, rig.Events}
	var requests strings.Builder
	for i, answer := range pipelined {
		requests.WriteString(line(i+1, answer))
	}
	if _, err := io.WriteString(conn, requests.String()); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for _, want := range []int{200, 200, 401} {
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != want {
			t.Errorf("got status %d, want %d", response.StatusCode, want)
		}
	}
	if _, err := http.ReadResponse(in, nil); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, func() error {
		if live := r.Backend.Live(client); !slices.Equal(live, []int{-len(pipelined)}) {
			return fmt.Errorf("got the client's streams %v open at the backend, want only that of the last request", live)
		}
		return nil
	})
	rigtest.WantCounts(t, r, "reuse", rigtest.Counts{Opened: 2, Released: 1, Active: 1})

	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("reuse", client))
	if rest, err := io.ReadAll(in); err != nil && len(rest) == 0 {
		t.Errorf("the connection of the superseded stream: got the error %v, want its first event and then its end", err)
	}
	rigtest.WantLive(t, r, client, newer)
	rigtest.WantCounts(t, r, "reuse", rigtest.Counts{Opened: 3, Superseded: 1, Released: 1, Active: 1})
}
