// Package refusals tests what a client gets from a real Envoy when the filter refuses its stream:
// status, headers, body and log.
package refusals

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// asker is a kind of client whose stream is refused.
type asker struct {
	name, method, accept string
	atResponse           bool // a rule that claims at the response sends its request to the backend
}

var askers = []asker{
	{"EventSource", "GET", "text/event-stream", false},
	{"program that sends GET", "GET", "application/json, text/event-stream", false},
	{"program that sends POST", "POST", "application/json, text/event-stream", true},
}

func (a asker) request(rule, client, query string) rig.Request {
	q := rigtest.Get(rule, client)
	q.Path += query
	q.Method = a.method
	q.Header = map[string]string{"accept": a.accept}
	if a.method == "POST" {
		q.Body = `{"jsonrpc":"2.0","id":1,"method":"initialize"}`
	}
	return q
}

// These rules have a retry of 2s.
const refusingRules = `{"rules": [
	{"name": "duplicate", "match": {"path": {"prefix": "/duplicate/"}}, "client": [{"query": "client"}], "retry": "2s", "on_duplicate": "reject_new"},
	{"name": "early",     "match": {"path": {"prefix": "/early/"}},     "client": [{"query": "client"}], "retry": "2s", "on_duplicate": "reject_new", "claim_at": "request"},
	{"name": "loser",     "match": {"path": {"prefix": "/loser/"}},     "client": [{"query": "client"}], "retry": "2s", "instance": [{"query": "tab"}]},
	{"name": "limited",   "match": {"path": {"prefix": "/limited/"}},   "client": [{"query": "client"}], "retry": "2s", "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}}
]}`

// A cause is a reason for refusals.
type cause struct {
	name, rule string
	prepare    func(t *testing.T, r *rig.Rig, p rig.Protocol, client string) (held *rig.Stream)
	query      string // added to the refused request
	status     int    // the status for a program
	soft       bool   // an EventSource gets status 200, because it comes back only then
	least      time.Duration
	most       time.Duration
	atRequest  bool // the request of any asker is refused before it reaches the backend
}

func causes() []cause {
	const least, most = 2 * time.Second, 2500 * time.Millisecond
	hold := func(rule string) func(*testing.T, *rig.Rig, rig.Protocol, string) *rig.Stream {
		return func(t *testing.T, r *rig.Rig, p rig.Protocol, client string) *rig.Stream {
			return rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get(rule, client))
		}
	}
	return []cause{
		{name: "duplicate", rule: "duplicate", prepare: hold("duplicate"), status: 409, least: least, most: most},
		{name: "duplicate", rule: "early", prepare: hold("early"), status: 409, least: least, most: most, atRequest: true},
		{name: "superseded", rule: "loser", query: "&tab=1", status: 409, soft: true, least: least, most: most,
			prepare: func(t *testing.T, r *rig.Rig, p rig.Protocol, client string) *rig.Stream {
				tab := func(n string, worker int) *rig.Stream {
					q := rigtest.Get("loser", client)
					q.Path += "&tab=" + n
					return rigtest.Open(t, rigtest.Dial(t, r, p, worker), q)
				}
				old, held := tab("1", 0), tab("2", 1)
				rigtest.WantEnd(t, old, rig.Reset)
				return held
			}},
		{name: "takeover_limit", rule: "limited", status: 429, soft: true, least: time.Hour - 3*wait.Patience, most: 75 * time.Minute,
			prepare: func(t *testing.T, r *rig.Rig, p rig.Protocol, client string) *rig.Stream {
				old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("limited", client))
				held := rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("limited", client))
				rigtest.WantEnd(t, old, rig.Reset)
				return held
			}},
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Filter: refusingRules, LogLevel: "wasm:debug"})
	want := make(map[refused]int)
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, c := range causes() {
			for _, who := range askers {
				t.Run(c.rule+", "+who.name, func(t *testing.T) {
					client := rigtest.NewClient()
					held := c.prepare(t, r, p, client)
					refuse(t, r, rigtest.Dial(t, r, p, 1), c, who, client)
					rigtest.WantFlow(t, r, held)
					rigtest.WantLive(t, r, client, held)
					held.Close()
					rigtest.WantLive(t, r, client)
				})
				want[refused{"refused_" + c.name, c.statusFor(who)}]++
			}
		}
	})
	wantRefusalsLogged(t, r, want)
}

// max_total_streams refuses clients that have no stream. A client that has one can still take over.
func TestOverload(t *testing.T) {
	t.Parallel()
	const full = `{"max_total_streams": 2, "rules": [{"name": "full", "match": {"path": {"prefix": "/full/"}}, "client": [{"query": "client"}], "retry": "2s"}]}`
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: full, LogLevel: "wasm:debug"})
	c := cause{name: "overloaded", rule: "full", status: 503, soft: true, least: 2 * time.Second, most: 2500 * time.Millisecond}
	want := make(map[refused]int)
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		a, b := rigtest.NewClient(), rigtest.NewClient()
		heldA, heldB := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("full", a)), rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("full", b))
		for i, who := range askers {
			client := rigtest.NewClient()
			refuse(t, r, rigtest.Dial(t, r, p, i%2), c, who, client)
			rigtest.WantLive(t, r, client)
			want[refused{"refused_overloaded", c.statusFor(who)}]++
		}
		newA := rigtest.Open(t, rigtest.Dial(t, r, p, 1), rigtest.Get("full", a)) // a takeover adds no stream
		rigtest.WantEnd(t, heldA, rig.Reset)
		rigtest.WantFlow(t, r, newA)
		rigtest.WantFlow(t, r, heldB)
		heldB.Close()
		rigtest.WantLive(t, r, b)
		wait.Until(t, func() error { // until there is room for one more
			if got := rigtest.Metrics(t, r)["full.active"]; got != 1 {
				return fmt.Errorf("active: got %d, want 1", got)
			}
			return nil
		})
		next := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("full", rigtest.NewClient()))
		rigtest.WantFlow(t, r, next)
		next.Close()
		newA.Close()
		wait.Until(t, func() error {
			if got := rigtest.Metrics(t, r)["full.active"]; got != 0 {
				return fmt.Errorf("active: got %d, want 0", got)
			}
			return nil
		})
	})
	wantRefusalsLogged(t, r, want)
}

func (c cause) statusFor(who asker) int {
	if c.soft && who.name == "EventSource" {
		return 200
	}
	return c.status
}

// refuse sends a request that must be refused and checks the response, the number of requests at
// the backend, and the metrics.
func refuse(t *testing.T, r *rig.Rig, conn *rig.Conn, c cause, who asker, client string) {
	t.Helper()
	asked := r.Backend.Asked(client)
	before := rigtest.Metrics(t, r)
	got := rigtest.Do(t, conn, who.request(c.rule, client, c.query))

	if got.Status != c.statusFor(who) {
		t.Fatalf("got status %d, want %d: %v %q", got.Status, c.statusFor(who), got.Header, got.Body)
	}
	if cached := got.Header.Get("cache-control"); cached != "no-store" {
		t.Errorf("got cache-control %q, want no-store", cached)
	}
	for _, name := range []string{"x-backend", "x-envoy-upstream-service-time", "content-encoding"} {
		if got.Header.Get(name) != "" {
			t.Errorf("got the backend's header %s: %q, want none", name, got.Header.Get(name))
		}
	}
	var wait time.Duration
	if got.Status == 200 {
		m := rigtest.SoftRefusal.FindStringSubmatch(got.Body)
		if got.Header.Get("content-type") != "text/event-stream" || m == nil || m[2] != c.name {
			t.Fatalf("got %q of type %q, want an event stream with the reason %s", got.Body, got.Header.Get("content-type"), c.name)
		}
		ms, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		wait = time.Duration(ms) * time.Millisecond
	} else {
		if want := `{"reason":"` + c.name + "\"}\n"; got.Header.Get("content-type") != "application/json" || got.Body != want {
			t.Errorf("got %q of type %q, want %q", got.Body, got.Header.Get("content-type"), want)
		}
		seconds, err := strconv.Atoi(got.Header.Get("retry-after"))
		if err != nil {
			t.Errorf("retry-after: %v", err)
		}
		wait = time.Duration(seconds) * time.Second
	}
	if most := c.most.Truncate(time.Second) + time.Second; wait < c.least || wait > c.most && (got.Status == 200 || wait > most) {
		t.Errorf("got a wait of %v for the client, want %v to %v", wait, c.least, c.most)
	}

	reached := 0
	if who.atResponse && !c.atRequest {
		reached = 1
	}
	if n := r.Backend.Asked(client) - asked; n != reached {
		t.Errorf("got %d requests at the backend, want %d", n, reached)
	}
	after := rigtest.Metrics(t, r)
	for name, want := range map[string]uint64{c.rule + ".refused_" + c.name: 1, c.rule + ".opened": 0, c.rule + ".superseded": 0, c.rule + ".active": 0} {
		if n := after[name] - before[name]; n != want {
			t.Errorf("%s: got %d more, want %d", name, n, want)
		}
	}
}

// refused is what the access log says about a refusal.
type refused struct {
	reason string
	status int
}

// wantRefusalsLogged stops Envoy and checks the refusals in its access log.
func wantRefusalsLogged(t *testing.T, r *rig.Rig, want map[refused]int) {
	t.Helper()
	if t.Failed() {
		return
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	got := make(map[refused]int)
	for _, line := range r.Access.Lines() {
		var written struct {
			Status int
			Reason *string
		}
		if err := json.Unmarshal([]byte(line), &written); err != nil {
			t.Fatalf("access log: %s: %v", line, err)
		}
		if written.Reason != nil && strings.HasPrefix(*written.Reason, "refused_") {
			got[refused{*written.Reason, written.Status}]++
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("access log: got the refusals %v, want %v", got, want)
	}
	if found := rigtest.Leaks(r); len(found) > 0 {
		t.Errorf("logs: want no client id, got\n%s", strings.Join(found, "\n"))
	}
}

// A page of another origin can read a refusal only if it has the headers of cors. cors alone
// answers a preflight.
func TestRefusalAcrossOrigins(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: refusingRules, LogLevel: "wasm:debug", Edits: rigtest.CORS})
	for _, p := range []rig.Protocol{rig.HTTP1, rig.HTTP2} {
		for _, c := range causes() {
			for _, who := range askers {
				t.Run(fmt.Sprintf("%v, %s, %s", p, c.rule, who.name), func(t *testing.T) {
					refuseAcrossOrigins(t, r, p, c, who)
				})
			}
		}
	}
}

func refuseAcrossOrigins(t *testing.T, r *rig.Rig, p rig.Protocol, c cause, who asker) {
	client := rigtest.NewClient()
	held := c.prepare(t, r, p, client)
	for origin, allowed := range map[string]string{"https://app.example": "https://app.example", "https://evil.example": ""} {
		if who.atResponse && !c.atRequest {
			// Envoy sends a reply in place of the backend's response past all other filters, so
			// cors does not see it.
			allowed = ""
		}
		q := who.request(c.rule, client, c.query)
		q.Header["origin"] = origin
		got := rigtest.Do(t, rigtest.Dial(t, r, p, 1), q)
		if got.Status != c.statusFor(who) || !strings.Contains(got.Body, `"`+c.name+`"`) {
			t.Errorf("from %s: got status %d, %q; want %d", origin, got.Status, got.Body, c.statusFor(who))
		}
		if got := got.Header.Get("access-control-allow-origin"); got != allowed {
			t.Errorf("from %s: got access-control-allow-origin %q, want %q", origin, got, allowed)
		}
	}

	asked, had := r.Backend.Asked(client), rigtest.SettledMetrics(t, r)
	preflight := who.request(c.rule, client, c.query)
	preflight.Method, preflight.Body = "OPTIONS", ""
	preflight.Header["origin"] = "https://app.example"
	preflight.Header["access-control-request-method"] = who.method
	preflight.Header["access-control-request-headers"] = "x-token"
	got := rigtest.Do(t, rigtest.Dial(t, r, p, 1), preflight)
	if got.Status != 200 || got.Header.Get("access-control-allow-origin") != "https://app.example" || got.Header.Get("access-control-allow-methods") != "GET, POST" || got.Body != "" {
		t.Errorf("preflight: got %v, want the answer of cors", got)
	}
	if r.Backend.Asked(client) != asked || !maps.Equal(rigtest.SettledMetrics(t, r), had) {
		t.Error("preflight: want it to reach no backend and to change no metric")
	}
	rigtest.WantFlow(t, r, held)
	held.Close()
	rigtest.WantLive(t, r, client)
}
