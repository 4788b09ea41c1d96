package main_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// living returns how many of the streams have not ended.
func living(streams []*host.Stream) (n int) {
	for _, s := range streams {
		if !s.Ended() {
			n++
		}
	}
	return n
}

// Each lifetime is cut by a random part of up to lifetime_jitter_percent. Streams that began
// together do not all end together.
func TestLifetimeJitter(t *testing.T) {
	t.Parallel()
	for percent, want := range map[int]struct{ early, late bool }{
		0:  {false, false}, // whether some end from 49 s to 75 s, and some from 75 s to 98 s
		50: {true, true},
	} {
		e := newEdge(t, host.Config{Workers: 4, PluginConfig: fmt.Appendf(nil,
			`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "max_lifetime": "100s", "lifetime_jitter_percent": %d}]}`, percent)})
		var streams []*host.Stream
		for i := range 64 {
			streams = append(streams, e.open(i%4, strconv.Itoa(i)))
		}
		e.Advance(49 * time.Second)
		if n := living(streams); n != 64 {
			t.Errorf("%d%%: %d of 64 live after 49 s, want all", percent, n)
		}
		e.Advance(26 * time.Second)
		middle := living(streams)
		e.Advance(23 * time.Second)
		end := living(streams)
		if (middle < 64) != want.early || (end < middle) != want.late {
			t.Errorf("%d%%: %d live after 75 s, %d after 98 s", percent, middle, end)
		}
		e.Advance(4 * time.Second)
		e.counted(map[string]uint64{"events.expired": 64, "events.active": 0, "events.released": 0})
	}
}

// Refused clients are told different times to wait, up to a quarter longer than retry.
func TestRetryJitter(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}, "retry": "10s"}], "max_total_streams": 1}`)})
	e.open(0, "alice")
	waits := map[int]bool{}
	for i := range 50 {
		s := e.Worker(1).Open(host.Request("GET", "/events", "accept", "text/event-stream", "cache-control", "no-cache", "pragma", "no-cache", "x-client-id", strconv.Itoa(i)))
		s.RequestHeaders(true)
		m := regexp.MustCompile(`^retry: (\d+)\n`).FindSubmatch(s.LocalReply().Body)
		if m == nil {
			t.Fatalf("refused with %q", s.LocalReply().Body)
		}
		ms, _ := strconv.Atoi(string(m[1]))
		if ms < 10_000 || ms > 12_500 {
			t.Errorf("told to wait %d ms, want 10,000 to 12,500", ms)
		}
		waits[ms] = true
	}
	if len(waits) < 10 {
		t.Errorf("50 clients are told %d different times to wait, want at least 10", len(waits))
	}
}

// A stream that has ended is not ended again when its max_lifetime or idle_timeout is over.
func TestEndedStreamDoesNotExpire(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "max_lifetime": "10s", "idle_timeout": "20s"}]}`)})
	e.open(0, "alice").End()
	superseded := e.open(0, "bob")
	e.Advance(8 * time.Second)
	e.open(1, "bob")
	e.Run()
	e.superseded(superseded)
	e.Advance(4 * time.Second)
	e.counted(map[string]uint64{"events.expired": 0, "events.idle": 0, "events.released": 1, "events.superseded": 1, "events.active": 1})
}

// A contended claim let its stream live. When a tick makes the claim, it is refused, and the stream
// ends with the reason of the refusal.
func TestLateRefusal(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "on_duplicate": "reject_new"}]}`)})
	e.open(0, "bob") // both workers have joined
	e.open(1, "carol")
	late := e.request(0, "alice")
	e.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" {
			c.Answer(host.StatusCasMismatch)
		}
	})
	late.ResponseHeaders(eventStream, false)
	e.Intercept(nil)
	e.live(late, true)
	holder := e.open(1, "alice")
	e.Tick()
	e.live(holder, true)
	e.live(late, false)
	if got := late.FilterState()["wasm.streamlatch.reason"]; got != "refused_duplicate" {
		t.Errorf("reason %q, want refused_duplicate", got)
	}
	e.counted(map[string]uint64{"events.refused_duplicate": 1, "events.active": 3, "contended": 1, "events.released": 0})
}

// If the registry cannot be read, the admin path answers 503.
func TestAdminPathWithoutRegistry(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [], "admin_path": "/streamlatch"}`)})
	for _, method := range []string{"GET", "DELETE"} {
		e.Intercept(func(c *host.Call) {
			if c.Name == "proxy_get_shared_data" {
				c.Answer(host.StatusInternalFailure)
			}
		})
		path := map[string]string{"GET": "/streamlatch", "DELETE": "/streamlatch/streams/events/alice"}[method]
		s := e.Worker(0).Open(host.Request(method, path))
		s.RequestHeaders(true)
		e.Intercept(nil)
		if r := s.LocalReply(); r == nil || r.Status != 503 {
			t.Errorf("%s: local reply %+v, want status 503", method, r)
		}
	}
}

// One tick finds that a stream was superseded and that its max_lifetime is over. It is counted as
// superseded only.
func TestSupersededAndExpiredInOneTick(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "max_lifetime": "10s", "lifetime_jitter_percent": 0}]}`)})
	old := e.open(0, "alice")
	e.Advance(9 * time.Second)
	e.open(1, "alice")
	e.DropWakeups()
	e.SkipTime(2 * time.Second)
	e.Worker(0).Tick()
	e.superseded(old)
	e.counted(map[string]uint64{"events.expired": 0, "events.superseded": 1, "events.active": 1})
}

// An operator's browser can be led to the admin path by a page that it shows. What a page sends is
// refused; what the operator typed, and what a program sends, is answered.
func TestAdminPathAnswersNoPage(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [], "admin_path": "/streamlatch"}`)})
	for _, test := range []struct {
		headers []string
		want    int
	}{
		{nil, 200},
		{[]string{"sec-fetch-site", "none"}, 200},
		{[]string{"origin", "http://evil.example"}, 403},
		{[]string{"origin", "null"}, 403},
		{[]string{"sec-fetch-site", "cross-site"}, 403},
		{[]string{"sec-fetch-site", "same-origin"}, 403}, // its name may resolve to this machine
	} {
		s := e.Worker(0).Open(host.Request("GET", "/streamlatch", test.headers...))
		s.RequestHeaders(true)
		if r := s.LocalReply(); r == nil || r.Status != test.want {
			t.Errorf("%v: local reply %+v, want status %d", test.headers, r, test.want)
		}
	}
}
