package e2e

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A client has a healthy stream and tries to open another, and the backend will not have it. That attempt must not
// cost the stream.
func TestRejectedNewcomerCostsNothing(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	protocols(t, func(t *testing.T, p rig.Protocol) {
		client := newClient()
		before := countsOf(metrics(t, r), "rejected")
		healthy := open(t, dial(t, r, p, 0), get("rejected", client))
		newcomer := dial(t, r, p, 1)
		for _, attempt := range []struct {
			method string
			answer rig.Answer
			status int
		}{
			{"GET", rig.Unauthorized, 401},
			{"GET", rig.Unavailable, 503},
			{"GET", rig.JSON, 200},
			{"POST", rig.JSON, 200},
			{"HEAD", rig.Events, 200},
		} {
			request := get("rejected", client)
			request.Method, request.Answer = attempt.method, attempt.answer
			if got := do(t, newcomer, request).Status; got != attempt.status {
				t.Errorf("%s, answered %q: status %d, want %d", attempt.method, attempt.answer, got, attempt.status)
			}
			wantFlow(t, r, healthy)
		}
		wantLive(t, r, client, healthy)
		wantCountsSince(t, r, "rejected", before, counts{opened: 1, active: 1})

		healthy.Close()
		wantCountsSince(t, r, "rejected", before, counts{opened: 1, released: 1})
	})
}
