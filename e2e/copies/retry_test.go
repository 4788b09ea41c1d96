// Package copies tests what happens when Envoy sends one request several times: retries, redirects,
// hedging and mirroring.
package copies

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// Envoy's router may send one request to the backend several times. The client claims once.

// again makes Envoy repeat requests: after failures and after redirects.
const again = `                  retry_policy:
                    retry_on: 5xx,reset,retriable-status-codes
                    retriable_status_codes: [409, 429]
                    num_retries: 2
                    retry_back_off: {base_interval: 0.001s}
                  internal_redirect_policy: {max_internal_redirects: 1}
`

var againRules = fmt.Sprintf(`{"max_total_streams": 4, "rules": [%s, %s, %s, %s, %s]}`,
	rigtest.OneRule("response", ""),
	rigtest.OneRule("request", `, "claim_at": "request"`),
	rigtest.OneRule("strict", `, "claim_at": "request", "on_duplicate": "reject_new"`),
	rigtest.OneRule("lenient", `, "on_duplicate": "reject_new"`),
	rigtest.OneRule("pair", `, "claim_at": "request", "max_streams": 2, "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}`))

// fickle is a backend that fails as many attempts of a request as its header x-fail says, and that
// redirects it to the path in x-moved-to.
type fickle struct {
	next http.Handler
	mu   sync.Mutex
	came map[string]int // number of attempts, by request id
}

func newFickle(next http.Handler) http.Handler {
	return &fickle{next: next, came: make(map[string]int)}
}

func (f *fickle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.came[r.Header.Get("X-Request-Id")]++
	attempt := f.came[r.Header.Get("X-Request-Id")]
	f.mu.Unlock()
	if fail, _ := strconv.Atoi(r.Header.Get("X-Fail")); attempt <= fail {
		if attempt%2 == 0 {
			panic(http.ErrAbortHandler) // no answer at all
		}
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	if to := r.Header.Get("X-Moved-To"); to != "" && r.RequestURI != to {
		w.Header().Set("Location", "http://"+r.Host+to) // Envoy follows only absolute redirects
		w.WriteHeader(http.StatusFound)
		return
	}
	f.next.ServeHTTP(w, r)
}

// failing returns a request whose first attempts fail.
func failing(rule, client string, attempts int) rig.Request {
	q := rigtest.Get(rule, client)
	q.Header = map[string]string{"x-fail": strconv.Itoa(attempts)}
	return q
}

func TestRetriesClaimOnce(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: againRules, LogLevel: "wasm:debug", Between: newFickle, Edits: []rig.Edit{rigtest.OnRoute(again)}})
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, rule := range []string{"response", "request"} {
			t.Run("the third attempt, claimed at the "+rule, func(t *testing.T) {
				had, client := rigtest.CountsOf(rigtest.Metrics(t, r), rule), rigtest.NewClient()
				old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), failing(rule, client, 2))
				rigtest.WantCountsSince(t, r, rule, had, rigtest.Counts{Opened: 1, Active: 1})
				newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), failing(rule, client, 2))
				rigtest.WantEnd(t, old, rig.Reset)
				rigtest.WantLive(t, r, client, newer)
				rigtest.WantFlow(t, r, newer)
				newer.Close()
				rigtest.WantCountsSince(t, r, rule, had, rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
			})
		}
		t.Run("all attempts fail", func(t *testing.T) {
			had, client := rigtest.CountsOf(rigtest.Metrics(t, r), "response"), rigtest.NewClient()
			held := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("response", client))
			if got := rigtest.Do(t, rigtest.Dial(t, r, p, 1), failing("response", client, 3)); got.Status != http.StatusServiceUnavailable {
				t.Errorf("got status %d, want 503", got.Status)
			}
			rigtest.WantFlow(t, r, held)
			rigtest.WantCountsSince(t, r, "response", had, rigtest.Counts{Opened: 1, Active: 1})
			held.Close()
			rigtest.WantCountsSince(t, r, "response", had, rigtest.Counts{Opened: 1, Released: 1})
		})
		t.Run("all attempts fail, claimed at the request", func(t *testing.T) {
			// The request has superseded the old stream once, and has released its own place.
			had, client := rigtest.CountsOf(rigtest.Metrics(t, r), "request"), rigtest.NewClient()
			held := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("request", client))
			if got := rigtest.Do(t, rigtest.Dial(t, r, p, 1), failing("request", client, 3)); got.Status != http.StatusServiceUnavailable {
				t.Errorf("got status %d, want 503", got.Status)
			}
			rigtest.WantEnd(t, held, rig.Reset)
			rigtest.WantCountsSince(t, r, "request", had, rigtest.Counts{Opened: 1, Superseded: 1})
		})
		t.Run("refusals are not retried", func(t *testing.T) { wantFinalRefusals(t, r, p) })
	})
}

// wantFinalRefusals checks that Envoy does not retry refusals whose status the route's policy
// names. They do not come from the upstream.
func wantFinalRefusals(t *testing.T, r *rig.Rig, p rig.Protocol) {
	for _, test := range []struct {
		rule    string
		full    bool // max_total_streams is reached
		status  int
		reached int // number of requests at the backend
	}{
		{"strict", false, http.StatusConflict, 0},
		{"lenient", false, http.StatusConflict, 1}, // refused after the backend has answered
		{"strict", true, http.StatusServiceUnavailable, 0},
		{"lenient", true, http.StatusServiceUnavailable, 1},
	} {
		before, client := rigtest.Metrics(t, r), rigtest.NewClient()
		var held []*rig.Stream
		asked := 0
		if test.full {
			for range 4 {
				held = append(held, rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get(test.rule, rigtest.NewClient())))
			}
		} else {
			held, asked = append(held, rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get(test.rule, client))), 1
		}
		q := rigtest.Get(test.rule, client)
		q.Method = "POST"
		if got := rigtest.Do(t, rigtest.Dial(t, r, p, 1), q); got.Status != test.status || got.Header.Get("retry-after") == "" {
			t.Errorf("%+v: got %+v, want this status and retry-after", test, got)
		}
		if n := r.Backend.Asked(client) - asked; n != test.reached {
			t.Errorf("%+v: got %d requests at the backend", test, n)
		}
		for _, s := range held {
			rigtest.WantFlow(t, r, s)
			s.Close()
		}
		n := uint64(len(held))
		rigtest.WantCountsSince(t, r, test.rule, rigtest.CountsOf(before, test.rule), rigtest.Counts{Opened: n, Released: n})
		after := rigtest.Metrics(t, r)
		if n := after[test.rule+".refused_duplicate"] + after[test.rule+".refused_overloaded"] -
			before[test.rule+".refused_duplicate"] - before[test.rule+".refused_overloaded"]; n != 1 {
			t.Errorf("%+v: got %d more refusals in the metrics, want 1", test, n)
		}
	}
}

// An internal redirect sends the request through all filters again, as a new request. Its first
// claim is released before, so it does not compete with itself. Rule and key are those of the new
// path.
func TestInternalRedirectClaimsOnce(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: againRules, LogLevel: "wasm:debug", Between: newFickle, Edits: []rig.Edit{rigtest.OnRoute(again)}})
	moved := func(from, to rig.Request) rig.Request {
		from.Header = map[string]string{"x-moved-to": to.Path}
		return from
	}
	elsewhere := func(rule, client string) rig.Request {
		q := rigtest.Get(rule, client)
		q.Path += "&elsewhere"
		return q
	}
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, rule := range []string{"response", "request"} {
			t.Run("takeover, claimed at the "+rule, func(t *testing.T) {
				had, client := rigtest.CountsOf(rigtest.Metrics(t, r), rule), rigtest.NewClient()
				old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get(rule, client))
				newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), moved(rigtest.Get(rule, client), elsewhere(rule, client)))
				rigtest.WantEnd(t, old, rig.Reset)
				rigtest.WantFlow(t, r, newer)
				rigtest.WantLive(t, r, client, newer)
				rigtest.WantCountsSince(t, r, rule, had, rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})
				newer.Close()
				rigtest.WantCountsSince(t, r, rule, had, rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
			})
		}
		t.Run("one place, claimed at the request", func(t *testing.T) {
			had, client := rigtest.CountsOf(rigtest.Metrics(t, r), "strict"), rigtest.NewClient()
			only := rigtest.Open(t, rigtest.Dial(t, r, p, 1), moved(rigtest.Get("strict", client), elsewhere("strict", client)))
			rigtest.WantFlow(t, r, only)
			rigtest.WantCountsSince(t, r, "strict", had, rigtest.Counts{Opened: 1, Active: 1})
			only.Close()
			rigtest.WantCountsSince(t, r, "strict", had, rigtest.Counts{Opened: 1, Released: 1})
		})
		t.Run("one of two places and one token, claimed at the request", func(t *testing.T) {
			had, client := rigtest.CountsOf(rigtest.Metrics(t, r), "pair"), rigtest.NewClient()
			first := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("pair", client))
			second := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("pair", client))
			third := rigtest.Open(t, rigtest.Dial(t, r, p, 1), moved(rigtest.Get("pair", client), elsewhere("pair", client)))
			rigtest.WantEnd(t, first, rig.Reset)
			rigtest.WantFlow(t, r, second)
			rigtest.WantLive(t, r, client, second, third)
			rigtest.WantCountsSince(t, r, "pair", had, rigtest.Counts{Opened: 3, Superseded: 1, Active: 2})
			second.Close()
			third.Close()
			rigtest.WantCountsSince(t, r, "pair", had, rigtest.Counts{Opened: 3, Superseded: 1, Released: 2})
		})
		t.Run("as another client under another rule", func(t *testing.T) {
			before, client, another := rigtest.Metrics(t, r), rigtest.NewClient(), rigtest.NewClient()
			held := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("response", client))
			old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("request", another))
			newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), moved(rigtest.Get("response", client), rigtest.Get("request", another)))
			rigtest.WantEnd(t, old, rig.Reset)
			rigtest.WantFlow(t, r, held)
			rigtest.WantFlow(t, r, newer)
			rigtest.WantCountsSince(t, r, "response", rigtest.CountsOf(before, "response"), rigtest.Counts{Opened: 1, Active: 1})
			rigtest.WantCountsSince(t, r, "request", rigtest.CountsOf(before, "request"), rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})
			held.Close()
			newer.Close()
			rigtest.WantCountsSince(t, r, "response", rigtest.CountsOf(before, "response"), rigtest.Counts{Opened: 1, Released: 1})
			rigtest.WantCountsSince(t, r, "request", rigtest.CountsOf(before, "request"), rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
		})
	})
	rigtest.WantReasons(t, r, map[string]int{"superseded": 2 * 4})
	if n := len(r.Access.Containing(`"status":302`)); n != 2*5 {
		t.Errorf("access log: got %d redirects, want %d", n, 2*5)
	}
}
