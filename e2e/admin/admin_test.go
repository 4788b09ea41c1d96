package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// Operators see and end streams through their own listener, and so do backends at a logout. These
// tests run the whole shipped file, which has this listener.
const adminRules = `{"rules": [
	{"name": "one",    "match": {"path": {"prefix": "/one/"}},    "client": [{"query": "client"}]},
	{"name": "four",   "match": {"path": {"prefix": "/four/"}},   "client": [{"query": "client"}], "max_streams": 4},
	{"name": "pair",   "match": {"path": {"prefix": "/pair/"}},   "client": [{"query": "tenant"}, {"query": "user"}]},
	{"name": "watch",  "match": {"path": {"prefix": "/watch/"}},  "client": [{"query": "client"}], "mode": "observe"},
	{"name": "unused", "match": {"path": {"prefix": "/unused/"}}, "client": [{"query": "client"}]}
]}`

// status is the response to GET on the admin path.
type status struct {
	Version string `json:"version"`
	VMID    string `json:"vm_id"`
	Rules   []struct {
		Name    string `json:"name"`
		Active  uint64 `json:"active"`
		Matched uint64 `json:"matched"`
		Tracked uint64 `json:"tracked"`
		NoKey   uint64 `json:"no_key"`
		Missing []any  `json:"missing"`
		Hint    string `json:"hint"`
	} `json:"rules"`
	Workers []struct {
		Slot    int    `json:"slot"`
		Streams uint64 `json:"streams"`
		Age     *int64 `json:"heartbeat_age_ms"`
	} `json:"workers"`
	Totals struct {
		Active  uint64 `json:"active"`
		Workers int    `json:"workers"`
	} `json:"totals"`
	Hint   string          `json:"hint"`
	Config json.RawMessage `json:"config"`
}

func readStatus(t *testing.T, c *rig.Conn) status {
	t.Helper()
	response := rigtest.Do(t, c, rig.Request{Path: "/streamlatch"})
	if response.Status != 200 || response.Header.Get("content-type") != "application/json" || response.Header.Get("cache-control") != "no-store" {
		t.Fatalf("GET /streamlatch: got status %d with the headers %v, want 200, JSON, no-store", response.Status, response.Header)
	}
	var s status
	decoder := json.NewDecoder(strings.NewReader(response.Body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		t.Fatalf("GET /streamlatch: %v in %s", err, response.Body)
	}
	return s
}

func (s status) active() map[string]uint64 {
	active := make(map[string]uint64)
	for _, r := range s.Rules {
		active[r.Name] = r.Active
	}
	return active
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Filter: adminRules, LogLevel: "wasm:debug", Internal: true})
	asked := rigtest.Operator(t, r, rig.HTTP1)

	t.Run("status with nothing open", func(t *testing.T) {
		s := readStatus(t, asked)
		if s.Version != rig.Version || s.VMID != "streamlatch" || s.Totals.Active != 0 || s.Totals.Workers != len(s.Workers) || s.Hint != "" {
			t.Errorf("got the status %+v, want version %q and no active stream", s, rig.Version)
		}
		for _, rule := range s.Rules {
			if rule.Matched != 0 || rule.Tracked != 0 || rule.NoKey != 0 || len(rule.Missing) != 0 || rule.Hint == "" {
				t.Errorf("got the rule %+v, want one that has seen nothing, and a hint", rule)
			}
		}
		if len(s.Rules) != 5 {
			t.Errorf("got %d rules, want all 5, though none has had a stream", len(s.Rules))
		}
		var config struct {
			Rules []json.RawMessage `json:"rules"`
			Path  string            `json:"admin_path"`
		}
		if err := json.Unmarshal(s.Config, &config); err != nil || len(config.Rules) != 0 || config.Path != "/streamlatch" {
			t.Errorf("got the config %s (%v), want that of the listener for operators", s.Config, err)
		}
	})

	t.Run("status", func(t *testing.T) {
		client := rigtest.NewClient()
		var streams []*rig.Stream
		for worker := range 4 {
			streams = append(streams, rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, worker), rigtest.Get("four", client)))
		}
		streams = append(streams, rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("one", client)))
		want := map[string]uint64{"one": 1, "four": 4}
		// A worker writes its number of streams with its next heartbeat.
		wait.Until(t, func() error {
			s := readStatus(t, asked)
			active := s.active()
			maps.DeleteFunc(active, func(name string, n uint64) bool { return n == 0 })
			var held uint64
			for _, w := range s.Workers {
				held += w.Streams
				if w.Age == nil || *w.Age < 0 || *w.Age > 3*wait.Patience.Milliseconds() {
					return fmt.Errorf("worker %d: want a recent heartbeat, got %+v", w.Slot, s)
				}
			}
			if !maps.Equal(active, want) || held != 5 || s.Totals.Active != 5 || len(s.Workers) < 4 || s.Totals.Workers != len(s.Workers) {
				return fmt.Errorf("got the status %+v, want %v active, and as many in the workers", s, want)
			}
			return nil
		})
		for _, s := range streams {
			s.Close()
		}
		rigtest.WantCounts(t, r, "four", rigtest.Counts{Opened: 4, Released: 4})
		rigtest.WantCounts(t, r, "one", rigtest.Counts{Opened: 1, Released: 1})
		if s := readStatus(t, asked); s.Totals.Active != 0 {
			t.Errorf("got the status %+v, want no active stream", s)
		}
	})

	dismissed := func(rule string) uint64 { return rigtest.Metrics(t, r)[rule+".dismissed"] }

	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		asked := rigtest.Operator(t, r, p)
		t.Run("all streams of a client, on whichever worker", func(t *testing.T) {
			client, other := rigtest.NewClient(), rigtest.NewClient()
			before, had := rigtest.CountsOf(rigtest.Metrics(t, r), "four"), dismissed("four")
			var streams []*rig.Stream
			for worker := range 4 {
				streams = append(streams, rigtest.Open(t, rigtest.Dial(t, r, p, worker), rigtest.Get("four", client)))
			}
			bystander := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("four", other))
			rigtest.WantDelete(t, asked, "/streamlatch/streams/four/"+client, 200, "{\"streams\":4}\n")
			for _, s := range streams {
				rigtest.WantEnd(t, s, rig.Reset)
			}
			rigtest.WantLive(t, r, client)
			rigtest.WantFlow(t, r, bystander)
			rigtest.WantCountsSince(t, r, "four", before, rigtest.Counts{Opened: 5, Active: 1})
			wait.Until(t, func() error {
				if got := dismissed("four") - had; got != 4 {
					return fmt.Errorf("dismissed: got %d, want 4", got)
				}
				return nil
			})
			rigtest.WantDelete(t, asked, "/streamlatch/streams/four/"+client, 404, "")

			again := rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("four", client)) // a dismissed client may come back
			rigtest.WantFlow(t, r, again)
			again.Close()
			bystander.Close()
			rigtest.WantCountsSince(t, r, "four", before, rigtest.Counts{Opened: 6, Released: 2})
		})
	})

	t.Run("a key of several sources", func(t *testing.T) {
		tenant, user := rigtest.NewClient(), rigtest.NewClient()
		s := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{Client: tenant, Path: "/pair/?user=" + user + "&tenant=" + tenant})
		for _, none := range []string{user + "/" + tenant, tenant + user, tenant, tenant + "%2F" + user, tenant + "/" + user + "/x"} {
			rigtest.WantDelete(t, asked, "/streamlatch/streams/pair/"+none, 404, "")
		}
		rigtest.WantFlow(t, r, s)
		rigtest.WantDelete(t, asked, "/streamlatch/streams/pair/"+tenant+"/"+user, 200, "{\"streams\":1}\n")
		rigtest.WantEnd(t, s, rig.Reset)
	})

	t.Run("percent-encoding", func(t *testing.T) {
		for about, encoded := range map[string]string{
			"a slash":                          "a%2Fb",
			"a slash, in lower case":           "a%2fb",
			"a space":                          "a%20b",
			"a percent sign":                   "a%25b",
			"text that looks encoded":          "a%252Fb",
			"a question mark and a hash":       "a%3Fb%23c",
			"a plus":                           "a%2Bb",
			"UTF-8":                            "J%C3%BCrgen%E2%9C%93",
			"not UTF-8":                        "%FF%FE%C3",
			"a NUL":                            "a%00b",
			"a line end":                       "a%0D%0Ab",
			"one dot":                          "%2E",
			"two dots":                         "%2E%2E",
			"characters that need no encoding": "%41%7A%2D%5F%7E",
		} {
			s := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{Path: "/one/?client=" + rigtest.RawID + encoded})
			rigtest.WantFlow(t, r, s)
			path := "/streamlatch/streams/one/" + rigtest.RawID + encoded
			got := rigtest.Do(t, asked, rig.Request{Method: "DELETE", Path: path})
			if got.Status != 200 {
				t.Errorf("%s: DELETE %s: got status %d, %q; want 200", about, path, got.Status, got.Body)
				s.Close()
				continue
			}
			rigtest.WantEnd(t, s, rig.Reset)
		}
		// A key that path normalization would remove.
		for _, encoded := range []string{"%2E", "%2E%2E", ".", ".."} {
			s := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{Path: "/one/?client=" + encoded})
			if got := rigtest.ExchangeAt(t, r, rig.Internal, "DELETE /streamlatch/streams/one/"+encoded+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").StatusCode; got != 200 {
				t.Errorf("DELETE of the client %q: got status %d, want 200", encoded, got)
				s.Close()
				continue
			}
			rigtest.WantEnd(t, s, rig.Reset)
		}
	})

	t.Run("other methods and paths", func(t *testing.T) {
		for _, c := range []struct {
			method, path string
			status       int
			allow        string
		}{
			{"POST", "/streamlatch", 405, "GET"},
			{"PUT", "/streamlatch/", 405, "GET"},
			{"DELETE", "/streamlatch", 405, "GET"},
			{"HEAD", "/streamlatch", 405, "GET"},
			{"GET", "/streamlatch/streams/one/x", 405, "DELETE"},
			{"POST", "/streamlatch/streams/one/x", 405, "DELETE"},
			{"GET", "/streamlatch/nothing", 404, ""},
			{"DELETE", "/streamlatch/streams", 404, ""},
			{"DELETE", "/streamlatch/streams/none/x", 404, ""},
			{"DELETE", "/streamlatch/streams/unused/x", 404, ""},
			{"DELETE", "/streamlatch/streams/one/" + rigtest.NewClient(), 404, ""},
			{"DELETE", "/streamlatch/streams//x", 404, ""},
			{"DELETE", "/streamlatch/streams/one", 400, ""},
			{"DELETE", "/streamlatch/streams/one/", 400, ""},
			{"DELETE", "/streamlatch/streams/one/x//y", 400, ""},
			{"DELETE", "/streamlatch/streams/one/%", 400, ""},
			{"DELETE", "/streamlatch/streams/one/%4", 400, ""},
			{"DELETE", "/streamlatch/streams/one/%zz", 400, ""},
			{"DELETE", "/streamlatch/streams/one/a%2", 400, ""},
			{"GET", "/streamlatch?q=1", 200, ""},
			{"GET", "/streamlatch/", 200, ""},
			{"GET", "/streamlatchx", 404, ""},
			{"GET", "//streamlatch", 404, ""},
			{"GET", "/x/../streamlatch", 404, ""},
			{"GET", "/%73treamlatch", 404, ""},
			{"GET", "/", 404, ""},
			{"GET", "/one/?client=x", 404, ""},
		} {
			got := rigtest.ExchangeAt(t, r, rig.Internal, c.method+" "+c.path+" HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			if allow := got.Header.Get("allow"); got.StatusCode != c.status || allow != c.allow {
				t.Errorf("%s %s: got status %d, allow %q; want %d, %q", c.method, c.path, got.StatusCode, allow, c.status, c.allow)
			}
		}
	})

	t.Run("streams of a rule that observes", func(t *testing.T) {
		client := rigtest.NewClient()
		s := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("watch", client))
		rigtest.WantDelete(t, asked, "/streamlatch/streams/watch/"+client, 200, "{\"streams\":1}\n")
		rigtest.WantEnd(t, s, rig.Reset) // observe mode does not apply to what an operator asks for
	})

	t.Run("logs", func(t *testing.T) {
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		reasons := 0
		for _, line := range r.Access.Lines() {
			if strings.Contains(line, `"reason":"dismissed"`) {
				reasons++
			}
		}
		if total := 4*2 + 1 + 14 + 4 + 1; reasons != total {
			t.Errorf("access log: got %d dismissed streams, want %d", reasons, total)
		}
		if found := rigtest.Leaks(r); len(found) > 0 {
			t.Errorf("logs: want no client id, got\n%s", strings.Join(found, "\n"))
		}
	})
}

// An Envoy with two configurations under one vm_id logs each of them once at info.
func TestEachConfigurationIsAnnouncedOnce(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{LogLevel: "wasm:debug", Internal: true})
	announced := make(map[string]int)
	wait.Until(t, func() error {
		clear(announced)
		for _, line := range r.Log.Containing("started version=") {
			if entry, ok := proxy.ParseLogEntry(line); ok && entry.Level == "info" {
				announced[entry.Message]++
			}
		}
		if len(announced) != 2 {
			return fmt.Errorf("%d configurations are announced, want 2", len(announced))
		}
		return nil
	})
	for message, n := range announced {
		if n != 1 {
			t.Errorf("got %d times at info, want once: %s", n, message)
		}
	}
}

// On the listener for clients the admin path is an ordinary path, in every spelling: the request
// goes to the backend.
func TestAdminPathIsNotPublic(t *testing.T) {
	t.Parallel()
	// The rule matches everything, and the filter is enabled on every route.
	const rule = `{"rules": [{"name": "all", "client": [{"query": "client"}]}]}`
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: rule, Internal: true, Edits: []rig.Edit{rig.Replace("            disabled: true\n", "")}})
	client := rigtest.NewClient()
	held := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("streamlatch", client))
	internal := readListener(t, r, rig.Internal)

	for _, target := range []string{
		"/streamlatch", "/streamlatch/", "//streamlatch", "/x/../streamlatch", "/./streamlatch", "/%73treamlatch", "/x/%2e%2e/streamlatch",
		"http://" + internal + "/streamlatch", "http://localhost/streamlatch", "/streamlatch;x", "/streamlatch?x", "/STREAMLATCH",
		"/streamlatch/streams/all/" + client, "http://" + internal + "/streamlatch/streams/all/" + client,
	} {
		for _, method := range []string{"GET", "DELETE"} {
			for _, header := range []string{
				"Host: example.org", "Host: " + internal, "Host: localhost:10001", "Host: streamlatch",
				"Host: x\r\nX-Envoy-Original-Path: /streamlatch/streams/all/" + client,
				"Host: x\r\nX-Envoy-Internal: true\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: " + internal,
				"Host: x\r\nX-Original-URL: /streamlatch\r\nX-Rewrite-URL: /streamlatch\r\nX-Envoy-Original-Dst-Host: " + internal,
			} {
				got := rigtest.Exchange(t, r, method+" "+target+" HTTP/1.1\r\n"+header+"\r\nX-Rig-Answer: echo\r\nX-Rig-Client: "+client+"\r\nConnection: close\r\n\r\n")
				if !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.Contains(got, "\r\nx-backend-twice: one\r\n") || strings.Contains(got, `"heartbeat_age_ms"`) {
					t.Errorf("%s %s with %q: want the backend's response, got\n%s", method, target, header, got)
				}
			}
		}
	}
	h2 := rigtest.Dial(t, r, rig.HTTP2, 0)
	for _, path := range []string{"/streamlatch", "//streamlatch", "/x/../streamlatch"} {
		if got := rigtest.Do(t, h2, rig.Request{Path: path, Answer: rig.Echo, Header: map[string]string{"accept": "*/*"}}); got.Header.Get("x-backend-twice") == "" {
			t.Errorf("HTTP/2: %s: want the backend's response, got %v", path, got)
		}
	}
	rigtest.WantFlow(t, r, held)
	if got := rigtest.Metrics(t, r)["all.dismissed"]; got != 0 {
		t.Errorf("dismissed: got %d, want 0", got)
	}
}

func readListener(t *testing.T, r *rig.Rig, name string) string {
	t.Helper()
	listeners, err := r.Envoy().Admin().Listeners(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if listeners[name] == "" {
		t.Fatalf("no listener %q, envoy has %v", name, slices.Collect(maps.Keys(listeners)))
	}
	return listeners[name]
}
