package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// Envoy's router may ask the backend more than once for one request. The client has asked once, and claims once.

// again is what has Envoy ask again: retries, hedging, redirects.
const again = `                  retry_policy:
                    retry_on: 5xx,reset,retriable-status-codes
                    retriable_status_codes: [409, 429]
                    num_retries: 2
                    retry_back_off: {base_interval: 0.001s}
                  internal_redirect_policy: {max_internal_redirects: 1}
`

var againRules = fmt.Sprintf(`{"max_total_streams": 4, "rules": [%s, %s, %s, %s, %s]}`,
	oneRule("response", ""),
	oneRule("request", `, "claim_at": "request"`),
	oneRule("strict", `, "claim_at": "request", "on_duplicate": "reject_new"`),
	oneRule("lenient", `, "on_duplicate": "reject_new"`),
	oneRule("pair", `, "claim_at": "request", "max_streams": 2, "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}`))

// A fickle backend fails the first attempts of a request, as many as that asks for in x-fail, and redirects it to where
// it asks for in x-moved-to.
type fickle struct {
	next http.Handler
	mu   sync.Mutex
	came map[string]int // attempts, by what Envoy calls the request
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
		w.Header().Set("Location", "http://"+r.Host+to) // Envoy follows absolute ones only
		w.WriteHeader(http.StatusFound)
		return
	}
	f.next.ServeHTTP(w, r)
}

// failing is a request whose first attempts fail.
func failing(rule, client string, attempts int) rig.Request {
	q := get(rule, client)
	q.Header = map[string]string{"x-fail": strconv.Itoa(attempts)}
	return q
}

func TestRetriesClaimOnce(t *testing.T) {
	t.Parallel()
	r := start(t, rig.Options{Concurrency: 2, Filter: againRules, LogLevel: "wasm:debug", Between: newFickle, Edits: []rig.Edit{onRoute(again)}})
	protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, rule := range []string{"response", "request"} {
			t.Run("the third attempt, claimed at the "+rule, func(t *testing.T) {
				had, client := countsOf(metrics(t, r), rule), newClient()
				old := open(t, dial(t, r, p, 0), failing(rule, client, 2))
				wantCountsSince(t, r, rule, had, counts{opened: 1, active: 1})
				newer := open(t, dial(t, r, p, 1), failing(rule, client, 2))
				wantEnd(t, old, rig.Reset)
				wantLive(t, r, client, newer)
				wantFlow(t, r, newer)
				newer.Close()
				wantCountsSince(t, r, rule, had, counts{opened: 2, superseded: 1, released: 1})
			})
		}
		t.Run("all in vain", func(t *testing.T) {
			had, client := countsOf(metrics(t, r), "response"), newClient()
			held := open(t, dial(t, r, p, 0), get("response", client))
			if got := do(t, dial(t, r, p, 1), failing("response", client, 3)); got.Status != http.StatusServiceUnavailable {
				t.Errorf("status %d, want 503", got.Status)
			}
			wantFlow(t, r, held)
			wantCountsSince(t, r, "response", had, counts{opened: 1, active: 1})
			held.Close()
			wantCountsSince(t, r, "response", had, counts{opened: 1, released: 1})
		})
		t.Run("all in vain, claimed at the request", func(t *testing.T) {
			// The place was taken for nothing, once, and is free again.
			had, client := countsOf(metrics(t, r), "request"), newClient()
			held := open(t, dial(t, r, p, 0), get("request", client))
			if got := do(t, dial(t, r, p, 1), failing("request", client, 3)); got.Status != http.StatusServiceUnavailable {
				t.Errorf("status %d, want 503", got.Status)
			}
			wantEnd(t, held, rig.Reset)
			wantCountsSince(t, r, "request", had, counts{opened: 1, superseded: 1})
		})
		t.Run("a refusal is the filter's, and final", func(t *testing.T) { wantFinalRefusals(t, r, p) })
	})
}

// wantFinalRefusals sees refusals with statuses that the route's policy retries. None is: they do not come from upstream.
func wantFinalRefusals(t *testing.T, r *rig.Rig, p rig.Protocol) {
	for _, test := range []struct {
		rule    string
		full    bool
		status  int
		reached int // the backend
	}{
		{"strict", false, http.StatusConflict, 0},
		{"lenient", false, http.StatusConflict, 1}, // refused when the backend had answered
		{"strict", true, http.StatusServiceUnavailable, 0},
		{"lenient", true, http.StatusServiceUnavailable, 1},
	} {
		before, client := metrics(t, r), newClient()
		var held []*rig.Stream
		asked := 0
		if test.full {
			for range 4 {
				held = append(held, open(t, dial(t, r, p, 0), get(test.rule, newClient())))
			}
		} else {
			held, asked = append(held, open(t, dial(t, r, p, 0), get(test.rule, client))), 1
		}
		q := get(test.rule, client)
		q.Method = "POST"
		if got := do(t, dial(t, r, p, 1), q); got.Status != test.status || got.Header.Get("retry-after") == "" {
			t.Errorf("%+v: got %+v", test, got)
		}
		if n := r.Backend.Asked(client) - asked; n != test.reached {
			t.Errorf("%+v: the backend was asked %d times", test, n)
		}
		for _, s := range held {
			wantFlow(t, r, s)
			s.Close()
		}
		n := uint64(len(held))
		wantCountsSince(t, r, test.rule, countsOf(before, test.rule), counts{opened: n, released: n})
		after := metrics(t, r)
		if n := after[test.rule+".refused_duplicate"] + after[test.rule+".refused_overloaded"] -
			before[test.rule+".refused_duplicate"] - before[test.rule+".refused_overloaded"]; n != 1 {
			t.Errorf("%+v: %d refusals are counted, want 1", test, n)
		}
	}
}

// An internal redirect sends the request through all filters once more, as another one. What it claimed before is given
// back first, so it does not stand in its own way; rule and key are those of the path that it is sent to.
func TestInternalRedirectClaimsOnce(t *testing.T) {
	t.Parallel()
	r := start(t, rig.Options{Concurrency: 2, Filter: againRules, LogLevel: "wasm:debug", Between: newFickle, Edits: []rig.Edit{onRoute(again)}})
	moved := func(from, to rig.Request) rig.Request {
		from.Header = map[string]string{"x-moved-to": to.Path}
		return from
	}
	elsewhere := func(rule, client string) rig.Request {
		q := get(rule, client)
		q.Path += "&elsewhere"
		return q
	}
	protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, rule := range []string{"response", "request"} {
			t.Run("takeover, claimed at the "+rule, func(t *testing.T) {
				had, client := countsOf(metrics(t, r), rule), newClient()
				old := open(t, dial(t, r, p, 0), get(rule, client))
				newer := open(t, dial(t, r, p, 1), moved(get(rule, client), elsewhere(rule, client)))
				wantEnd(t, old, rig.Reset)
				wantFlow(t, r, newer)
				wantLive(t, r, client, newer)
				wantCountsSince(t, r, rule, had, counts{opened: 2, superseded: 1, active: 1})
				newer.Close()
				wantCountsSince(t, r, rule, had, counts{opened: 2, superseded: 1, released: 1})
			})
		}
		t.Run("one place, claimed at the request", func(t *testing.T) {
			had, client := countsOf(metrics(t, r), "strict"), newClient()
			only := open(t, dial(t, r, p, 1), moved(get("strict", client), elsewhere("strict", client)))
			wantFlow(t, r, only)
			wantCountsSince(t, r, "strict", had, counts{opened: 1, active: 1})
			only.Close()
			wantCountsSince(t, r, "strict", had, counts{opened: 1, released: 1})
		})
		t.Run("one of two places and one token, claimed at the request", func(t *testing.T) {
			had, client := countsOf(metrics(t, r), "pair"), newClient()
			first := open(t, dial(t, r, p, 0), get("pair", client))
			second := open(t, dial(t, r, p, 0), get("pair", client))
			third := open(t, dial(t, r, p, 1), moved(get("pair", client), elsewhere("pair", client)))
			wantEnd(t, first, rig.Reset)
			wantFlow(t, r, second)
			wantLive(t, r, client, second, third)
			wantCountsSince(t, r, "pair", had, counts{opened: 3, superseded: 1, active: 2})
			second.Close()
			third.Close()
			wantCountsSince(t, r, "pair", had, counts{opened: 3, superseded: 1, released: 2})
		})
		t.Run("as another client under another rule", func(t *testing.T) {
			before, client, another := metrics(t, r), newClient(), newClient()
			held := open(t, dial(t, r, p, 0), get("response", client))
			old := open(t, dial(t, r, p, 0), get("request", another))
			newer := open(t, dial(t, r, p, 1), moved(get("response", client), get("request", another)))
			wantEnd(t, old, rig.Reset)
			wantFlow(t, r, held)
			wantFlow(t, r, newer)
			wantCountsSince(t, r, "response", countsOf(before, "response"), counts{opened: 1, active: 1})
			wantCountsSince(t, r, "request", countsOf(before, "request"), counts{opened: 2, superseded: 1, active: 1})
			held.Close()
			newer.Close()
			wantCountsSince(t, r, "response", countsOf(before, "response"), counts{opened: 1, released: 1})
			wantCountsSince(t, r, "request", countsOf(before, "request"), counts{opened: 2, superseded: 1, released: 1})
		})
	})
	wantReasons(t, r, map[string]int{"superseded": 2 * 4})
	if n := len(r.Access.Containing(`"status":302`)); n != 2*5 {
		t.Errorf("the access log has %d redirects, want %d", n, 2*5)
	}
}
