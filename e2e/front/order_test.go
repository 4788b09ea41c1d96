package front

import (
	"net/http"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// What goes wrong with each filter behind Streamlatch instead of in front of it.
func TestFrontInAnotherOrder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		order []string
		see   func(t *testing.T, r *rig.Rig, f front)
	}{
		{"cors behind", []string{"streamlatch", "cors"}, refusalIsUnreadable},
		{"jwt_authn behind", []string{"streamlatch", "jwt_authn"}, nobodyIsTracked},
		{"ext_authz and rate limit behind", []string{"streamlatch", "ext_authz", "rate_limit"}, func(t *testing.T, r *rig.Rig, f front) {
			spend(t, r, rig.HTTP2, rig.Request{Path: "/"})
			rejectionCostsAStream(t, r, http.StatusForbidden, func(q *rig.Request) { q.Path += "&banned" })
			rejectionCostsAStream(t, r, http.StatusTooManyRequests, hurry(rig.HTTP2))
			headerCanBeForged(t, r, f)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			test.see(t, rigtest.Start(t, rig.Options{Concurrency: 1, Filter: frontRules, LogLevel: "wasm:debug", Edits: f.order(test.order...)}), f)
		})
	}
}

// cors does not see a request that Streamlatch refuses, so no page can read the refusal.
func refusalIsUnreadable(t *testing.T, r *rig.Rig, _ front) {
	client := rigtest.NewClient()
	held := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("any", client))
	q := rigtest.Get("any", client)
	q.Header = map[string]string{"origin": page}
	got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP2, 0), q)
	if got.Status != http.StatusConflict || got.Header.Get("access-control-allow-origin") != "" {
		t.Errorf("got %+v, want status 409 without access-control-allow-origin", got)
	}
	rigtest.WantFlow(t, r, held)
}

// Without verified claims in the metadata there is no key.
func nobodyIsTracked(t *testing.T, r *rig.Rig, f front) {
	user := rigtest.NewClient()
	first := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), f.as(t, user, "/user/"))
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), f.as(t, user, "/user/"))
	rigtest.WantLive(t, r, user, first, second)
	rigtest.WantCounts(t, r, "user", rigtest.Counts{})
	if n := rigtest.Metrics(t, r)["user.no_key"]; n != 2 {
		t.Errorf("no_key: got %d, want 2", n)
	}
}

// A filter behind Streamlatch rejects a request that has already claimed, if the rule claims at the
// request. Under reject_new, Streamlatch answers first, and so reveals that the client has a
// stream. A rule that claims at the response behaves the same in any order.
func rejectionCostsAStream(t *testing.T, r *rig.Rig, status int, change func(*rig.Request)) {
	h1, h2 := rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Dial(t, r, rig.HTTP2, 0)
	attempt := func(rule, client string) int {
		q := rigtest.Get(rule, client)
		change(&q)
		return rigtest.Do(t, h1, q).Status
	}
	client, had := rigtest.NewClient(), rigtest.Metrics(t, r)
	held := rigtest.Open(t, h2, rigtest.Get("late", client))
	if got := attempt("late", client); got != status {
		t.Errorf("got status %d, want %d", got, status)
	}
	rigtest.WantFlow(t, r, held)
	rigtest.WantCountsSince(t, r, "late", rigtest.CountsOf(had, "late"), rigtest.Counts{Opened: 1, Active: 1})

	held = rigtest.Open(t, h2, rigtest.Get("soon", client))
	if got := attempt("soon", client); got != status {
		t.Errorf("got status %d, want %d", got, status)
	}
	rigtest.WantEnd(t, held, rig.Reset)
	rigtest.WantCountsSince(t, r, "soon", rigtest.CountsOf(had, "soon"), rigtest.Counts{Opened: 1, Superseded: 1})

	rigtest.Open(t, h2, rigtest.Get("any", client))
	if got := attempt("any", client); got != http.StatusConflict {
		t.Errorf("got status %d, want 409, because the client has a stream", got)
	}
}

// A header that ext_authz sets behind Streamlatch is missing, or can be forged by the client.
func headerCanBeForged(t *testing.T, r *rig.Rig, f front) {
	h2 := rigtest.Dial(t, r, rig.HTTP2, 0)
	victim := rigtest.NewClient()
	rigtest.Open(t, h2, f.as(t, victim, "/set/"))
	if n := rigtest.Metrics(t, r)["set.no_key"]; n != 1 {
		t.Errorf("no_key: got %d, want 1", n)
	}
	honest := f.as(t, victim, "/set/")
	honest.Header["x-user"] = victim
	held := rigtest.Open(t, h2, honest)
	rigtest.Open(t, h2, f.forged(t, rigtest.NewClient(), victim))
	rigtest.WantEnd(t, held, rig.Reset)
}
