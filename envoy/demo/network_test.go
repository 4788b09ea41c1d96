package demo

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// behindItself is a backend that takes itself for Envoy.
func behindItself(t *testing.T) served {
	b := serve(t, 5*time.Millisecond)
	b.Behind(Gateway{Edge: strings.TrimPrefix(b.url, "http://")})
	return b
}

// post sends what a button of the page sends, and returns the answer.
func (b served) post(path string) string {
	b.t.Helper()
	response, _ := b.do(http.DefaultClient, "POST", path, "")
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", response.StatusCode, body)
}

// A device that closes its stream ends it for everybody on the way.
func TestLine(t *testing.T) {
	b := behindItself(t)
	response, leave := b.do(client(t, false), "GET", "/demo/line/events?client=ann&tab=a", "")
	next := events(t, response.Body)
	next()
	next()
	b.waitLive(map[string]int{"ann": 1})
	leave()
	b.waitLive(map[string]int{})
}

// A device that loses its network does not: its own side breaks, and the other side stays, although
// the device is back. over ends it.
func TestCut(t *testing.T) {
	b := behindItself(t)
	c := client(t, false)
	until := b.watch("ann")
	first, _ := b.do(c, "GET", "/demo/line/events?client=ann&tab=a", "")
	events(t, first.Body)()
	other, _ := b.do(c, "GET", "/demo/line/events?client=ann&tab=b", "")
	events(t, other.Body)()
	if got := b.post("/demo/cut?client=ann&tab=a"); got != "200 {\"cut\":1}\n" {
		t.Errorf("cut: got %q", got)
	}
	if _, err := io.Copy(io.Discard, first.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the device: got the end %v, want a cut", err)
	}
	now := until("one lost stream", func(s State) bool { return len(s.Streams) == 2 && s.Streams[0].Lost && !s.Streams[1].Lost })
	sent := now.Streams[0].Events
	until("events for nobody", func(s State) bool { return s.Streams[0].Events > sent+3 })
	if got := b.post("/demo/cut?client=ann&tab=a"); got != "200 {\"cut\":0}\n" {
		t.Errorf("cut again: got %q, want nothing to cut", got)
	}
	if got := b.post("/demo/over?client=bob"); got != "200 {\"ended\":0}\n" {
		t.Errorf("over, of another client: got %q", got)
	}
	if got := b.post("/demo/over?client=ann"); got != "200 {\"ended\":1}\n" || b.Live()["ann"] != 1 {
		t.Errorf("over: got %q and %v, want the lost stream ended by then", got, b.Live())
	}
	if now := until("one stream", has("b")); len(now.Takeovers) != 0 {
		t.Errorf("over: got %+v, want no takeover", now.Takeovers)
	}
}

// With two Envoys the page says which one a device is at.
func TestTwoEnvoys(t *testing.T) {
	b := serve(t, time.Hour)
	want := func(path, answer string) {
		t.Helper()
		response, _ := b.do(client(t, false), "GET", path, "")
		body, err := io.ReadAll(response.Body)
		if err != nil || string(body) != answer {
			t.Errorf("%s: got %q (%v), want %q", path, body, err, answer)
		}
	}
	want("/demo/envoys", "0\n")
	var gateways []Gateway
	for _, name := range []string{"a", "b"} {
		envoy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, name, " ", r.URL.RawQuery)
		}))
		defer envoy.Close()
		gateways = append(gateways, Gateway{Edge: strings.TrimPrefix(envoy.URL, "http://")})
	}
	b.Behind(gateways...)
	want("/demo/envoys", "2\n")
	want("/demo/line/events?client=ann", "a client=ann&line=1")
	want("/demo/line/events?client=ann&envoy=0", "a client=ann&line=2")
	want("/demo/line/events?client=ann&envoy=1", "b client=ann&line=3")
	for _, other := range []string{"2", "-1", "b"} {
		want("/demo/line/events?client=ann&envoy="+other, unknownEnvoy+"\n")
	}
}

// Lost connections do not gather without end.
func TestLostLinesAreBounded(t *testing.T) {
	b := behindItself(t)
	c := client(t, false)
	for i := range maxLost + 3 {
		tab := fmt.Sprint(i)
		response, _ := b.do(c, "GET", "/demo/line/events?client=ann&tab="+tab, "")
		events(t, response.Body)()
		b.post("/demo/cut?client=ann&tab=" + tab)
	}
	b.waitLive(map[string]int{"ann": maxLost})
	until := b.watch("ann")
	if now := until("the newest", func(s State) bool { return len(s.Streams) == maxLost }); now.Streams[0].Tab != "3" {
		t.Errorf("the oldest is %+v, want the first three ended", now.Streams[0])
	}
	b.post("/demo/over?client=ann")
	b.waitLive(map[string]int{})
}

// The page's request and Envoy's answer pass as they are.
func TestLineChangesNothing(t *testing.T) {
	var got *http.Request
	envoy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"reason":"takeover_limit"}`)
	}))
	defer envoy.Close()
	b := serve(t, time.Hour)
	request, err := http.NewRequestWithContext(t.Context(), "GET", b.url+"/demo/line/off/events?client=ann&tab=a", nil)
	if err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{"Accept": "text/event-stream", "Cache-Control": "no-cache", "Pragma": "no-cache", "User-Agent": "Mozilla/5.0", "Last-Event-Id": "7"}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("X-Forwarded-For", "10.0.0.1")
	send := func() (int, string, http.Header) {
		response, err := client(t, false).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body), response.Header
	}
	if status, body, _ := send(); status != 503 || !strings.Contains(body, unknownEnvoy) {
		t.Errorf("without Envoy: got %d, %s", status, body)
	}
	b.Behind(Gateway{Edge: strings.TrimPrefix(envoy.URL, "http://")})
	status, body, header := send()
	if status != 429 || body != `{"reason":"takeover_limit"}` || header.Get("Retry-After") != "7" || header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d, %s, %v", status, body, header)
	}
	if got.URL.Path != "/off/events" || got.URL.Query().Get("client") != "ann" || got.URL.Query().Get("tab") != "a" {
		t.Errorf("Envoy was asked for %s", got.URL)
	}
	for name, value := range headers {
		if got.Header.Get(name) != value {
			t.Errorf("Envoy got %s %q, want %q", name, got.Header.Get(name), value)
		}
	}
	if got.Header.Get("X-Forwarded-For") != "" {
		t.Errorf("Envoy got x-forwarded-for, which another Envoy had added")
	}
	envoy.Close()
	if status, _, _ := send(); status != 502 {
		t.Errorf("an Envoy that has gone: got %d, want 502", status)
	}
}
