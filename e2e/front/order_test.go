package front

import (
	"net/http"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// In another order each filter costs something of its own.
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
			deniedCostsAStream(t, r, http.StatusForbidden, func(q *rig.Request) { q.Path += "&banned" })
			deniedCostsAStream(t, r, http.StatusTooManyRequests, hurry(rig.HTTP2))
			setHeaderIsTheClients(t, r, f)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			test.see(t, rigtest.Start(t, rig.Options{Concurrency: 1, Filter: frontRules, LogLevel: "wasm:debug", Edits: f.order(test.order...)}), f)
		})
	}
}

// Cors has not seen a request that this filter has answered, and lets no page read the answer.
func refusalIsUnreadable(t *testing.T, r *rig.Rig, _ front) {
	client := rigtest.NewClient()
	held := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("any", client))
	q := rigtest.Get("any", client)
	q.Header = map[string]string{"origin": page}
	got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP2, 0), q)
	if got.Status != http.StatusConflict || got.Header.Get("access-control-allow-origin") != "" {
		t.Errorf("%+v, want status 409 that no page can read", got)
	}
	rigtest.WantFlow(t, r, held)
}

// Without a claim there is no key.
func nobodyIsTracked(t *testing.T, r *rig.Rig, f front) {
	user := rigtest.NewClient()
	first := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), f.as(t, user, "/user/"))
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), f.as(t, user, "/user/"))
	rigtest.WantLive(t, r, user, first, second)
	rigtest.WantCounts(t, r, "user", rigtest.Counts{})
	if n := rigtest.Metrics(t, r)["user.no_key"]; n != 2 {
		t.Errorf("no_key is %d, want 2", n)
	}
}

// Who is turned away behind this filter has claimed already, if the rule claims at the request, and is told that the
// client has a stream, if that is so. A rule that claims at the response is the same in any order.
func deniedCostsAStream(t *testing.T, r *rig.Rig, status int, change func(*rig.Request)) {
	h1, h2 := rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Dial(t, r, rig.HTTP2, 0)
	attempt := func(rule, client string) int {
		q := rigtest.Get(rule, client)
		change(&q)
		return rigtest.Do(t, h1, q).Status
	}
	client, had := rigtest.NewClient(), rigtest.Metrics(t, r)
	held := rigtest.Open(t, h2, rigtest.Get("late", client))
	if got := attempt("late", client); got != status {
		t.Errorf("status %d, want %d", got, status)
	}
	rigtest.WantFlow(t, r, held)
	rigtest.WantCountsSince(t, r, "late", rigtest.CountsOf(had, "late"), rigtest.Counts{Opened: 1, Active: 1})

	held = rigtest.Open(t, h2, rigtest.Get("soon", client))
	if got := attempt("soon", client); got != status {
		t.Errorf("status %d, want %d", got, status)
	}
	rigtest.WantEnd(t, held, rig.Reset)
	rigtest.WantCountsSince(t, r, "soon", rigtest.CountsOf(had, "soon"), rigtest.Counts{Opened: 1, Superseded: 1})

	rigtest.Open(t, h2, rigtest.Get("any", client))
	if got := attempt("any", client); got != http.StatusConflict {
		t.Errorf("status %d, want 409, which says that the client has a stream", got)
	}
}

// A header that ext_authz sets behind this filter is not there yet, or is what the client has made up.
func setHeaderIsTheClients(t *testing.T, r *rig.Rig, f front) {
	h2 := rigtest.Dial(t, r, rig.HTTP2, 0)
	victim := rigtest.NewClient()
	rigtest.Open(t, h2, f.as(t, victim, "/set/"))
	if n := rigtest.Metrics(t, r)["set.no_key"]; n != 1 {
		t.Errorf("no_key is %d, want 1", n)
	}
	honest := f.as(t, victim, "/set/")
	honest.Header["x-user"] = victim
	held := rigtest.Open(t, h2, honest)
	rigtest.Open(t, h2, f.forged(t, rigtest.NewClient(), victim))
	rigtest.WantEnd(t, held, rig.Reset)
}
