// Package front tests the filter together with Envoy's own filters: cors, jwt_authn, ext_authz,
// rate limits and compression.
package front

import (
	"maps"
	"net/http"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// The filter among those that stand in front of real services, and what the order of them is for.

// The rules for tests with other filters, and with their order.
const frontRules = `{"rules": [
	{"name": "user",   "match": {"path": {"prefix": "/user/"}},   "client": [{"jwt_claim": {"claim": "sub", "metadata_key": "payload"}}]},
	{"name": "early",  "match": {"path": {"prefix": "/early/"}},  "client": [{"jwt_claim": {"claim": "sub", "metadata_key": "payload"}}], "claim_at": "request"},
	{"name": "single", "match": {"path": {"prefix": "/single/"}}, "client": [{"jwt_claim": {"claim": "sub", "metadata_key": "payload"}}], "on_duplicate": "reject_new"},
	{"name": "set",    "match": {"path": {"prefix": "/set/"}},    "client": [{"header": "x-user"}]},
	{"name": "any",    "match": {"path": {"prefix": "/any/"}},    "client": [{"query": "client"}], "on_duplicate": "reject_new"},
	{"name": "soon",   "match": {"path": {"prefix": "/soon/"}},   "client": [{"query": "client"}], "claim_at": "request"},
	{"name": "late",   "match": {"path": {"prefix": "/late/"}},   "client": [{"query": "client"}]}
]}`

// The usual order: Streamlatch stands behind every filter that may reject a client or that
// establishes who it is.
func TestFront(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: frontRules, LogLevel: "wasm:debug",
		Edits: f.order("cors", "jwt_authn", "ext_authz", "rate_limit", "streamlatch", "compressor")})
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, rule := range []string{"user", "early", "set"} {
			t.Run("takeover under "+rule, func(t *testing.T) {
				had, asked := rigtest.CountsOf(rigtest.Metrics(t, r), rule), f.authz.asked.Load()
				user := rigtest.NewClient()
				old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), f.as(t, user, "/"+rule+"/"))
				other := rigtest.Open(t, rigtest.Dial(t, r, p, 0), f.as(t, rigtest.NewClient(), "/"+rule+"/"))
				newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), f.as(t, user, "/"+rule+"/"))
				rigtest.WantEnd(t, old, rig.Reset)
				rigtest.WantFlow(t, r, other)
				rigtest.WantFlow(t, r, newer)
				rigtest.WantLive(t, r, user, newer)
				if got := newer.Header.Get("access-control-allow-origin"); got != page {
					t.Errorf("access-control-allow-origin of a stream: got %q, want %q", got, page)
				}
				if n := f.authz.asked.Load() - asked; n != 3 {
					t.Errorf("got %d requests of ext_authz for 3 streams, want 3", n)
				}
				other.Close()
				newer.Close()
				rigtest.WantCountsSince(t, r, rule, had, rigtest.Counts{Opened: 3, Superseded: 1, Released: 2})
			})
		}
		t.Run("a client cannot forge a header that ext_authz sets", func(t *testing.T) {
			had, victim := rigtest.CountsOf(rigtest.Metrics(t, r), "set"), rigtest.NewClient()
			held := rigtest.Open(t, rigtest.Dial(t, r, p, 0), f.as(t, victim, "/set/"))
			stranger := rigtest.Open(t, rigtest.Dial(t, r, p, 1), f.forged(t, rigtest.NewClient(), victim))
			rigtest.WantFlow(t, r, held)
			rigtest.WantFlow(t, r, stranger)
			rigtest.WantCountsSince(t, r, "set", had, rigtest.Counts{Opened: 2, Active: 2})
			held.Close()
			stranger.Close()
			rigtest.WantCountsSince(t, r, "set", had, rigtest.Counts{Opened: 2, Released: 2})
		})
		t.Run("a page can read its refusal", func(t *testing.T) {
			user, had := rigtest.NewClient(), rigtest.CountsOf(rigtest.Metrics(t, r), "single")
			held := rigtest.Open(t, rigtest.Dial(t, r, p, 0), f.as(t, user, "/single/"))
			q := f.as(t, user, "/single/")
			q.Header["accept-encoding"] = "gzip"
			got := rigtest.Do(t, rigtest.Dial(t, r, p, 1), q)
			if got.Status != http.StatusConflict || got.Header.Get("access-control-allow-origin") != page || got.Body != "{\"reason\":\"duplicate\"}\n" {
				t.Errorf("got %+v, want status 409 with access-control-allow-origin %s", got, page)
			}
			rigtest.WantFlow(t, r, held)
			held.Close()
			rigtest.WantCountsSince(t, r, "single", had, rigtest.Counts{Opened: 1, Released: 1})
		})
		t.Run("a request that another filter rejects claims nothing", func(t *testing.T) {
			wantRejected(t, r, f, p)
		})
		t.Run("cors answers a preflight", func(t *testing.T) {
			user := rigtest.NewClient()
			had, asked := rigtest.SettledMetrics(t, r), f.authz.asked.Load()
			q := rig.Request{Client: user, Method: "OPTIONS", Path: "/early/", Header: map[string]string{
				"origin": page, "access-control-request-method": "GET"}}
			got := rigtest.Do(t, rigtest.Dial(t, r, p, 1), q)
			if got.Status != http.StatusOK || got.Header.Get("access-control-allow-methods") != "GET, POST" {
				t.Errorf("got %+v, want the answer of cors", got)
			}
			if r.Backend.Asked(user) != 0 || f.authz.asked.Load() != asked || !maps.Equal(rigtest.SettledMetrics(t, r), had) {
				t.Error("the preflight: want it to reach no other filter and no backend")
			}
		})
		t.Run("a response that is not a stream is compressed", func(t *testing.T) {
			q := f.as(t, rigtest.NewClient(), "/user/")
			q.Answer, q.Header["accept-encoding"] = rig.Echo, "gzip"
			if got := rigtest.Do(t, rigtest.Dial(t, r, p, 1), q); got.Header.Get("content-encoding") != "gzip" {
				t.Errorf("got content-encoding %q, want gzip", got.Header.Get("content-encoding"))
			}
		})
	})
	rigtest.WantNoLeaks(t, r)
}

// wantRejected makes each filter in front of Streamlatch reject a request of a user who has a
// stream. The rule claims at the request.
func wantRejected(t *testing.T, r *rig.Rig, f front, p rig.Protocol) {
	user := rigtest.NewClient()
	had := rigtest.CountsOf(rigtest.Metrics(t, r), "early")
	held := rigtest.Open(t, rigtest.Dial(t, r, p, 0), f.as(t, user, "/early/"))
	rigtest.WantCountsSince(t, r, "early", had, rigtest.Counts{Opened: 1, Active: 1})
	spend(t, r, p, f.as(t, user, "/user/"))
	asked, quiet := r.Backend.Asked(user), rigtest.SettledMetrics(t, r)
	for _, attempt := range []struct {
		by     string
		change func(*rig.Request)
		status int
	}{
		{"jwt_authn", func(q *rig.Request) { delete(q.Header, "authorization") }, http.StatusUnauthorized},
		{"ext_authz", func(q *rig.Request) { q.Path += "?banned" }, http.StatusForbidden},
		{"rate_limit", hurry(p), http.StatusTooManyRequests},
	} {
		q := f.as(t, user, "/early/")
		attempt.change(&q)
		if got := rigtest.Do(t, rigtest.Dial(t, r, p, 1), q); got.Status != attempt.status || got.Header.Get("access-control-allow-origin") != page {
			t.Errorf("%s: got %+v, want status %d with access-control-allow-origin %s", attempt.by, got, attempt.status, page)
		}
		rigtest.WantFlow(t, r, held)
	}
	if n, m := r.Backend.Asked(user), rigtest.SettledMetrics(t, r); n != asked || !maps.Equal(m, quiet) {
		t.Errorf("got %d requests at the backend, want %d; got the metrics %v, want %v", n, asked, m, quiet)
	}
	held.Close()
	rigtest.WantCountsSince(t, r, "early", had, rigtest.Counts{Opened: 1, Released: 1})
}
