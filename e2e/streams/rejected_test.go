package streams

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// A client has a healthy stream and tries to open another one, which the backend rejects. The
// healthy stream must go on.
func TestRejectedNewcomerCostsNothing(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		client := rigtest.NewClient()
		before := rigtest.CountsOf(rigtest.Metrics(t, r), "rejected")
		healthy := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("rejected", client))
		newcomer := rigtest.Dial(t, r, p, 1)
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
			request := rigtest.Get("rejected", client)
			request.Method, request.Answer = attempt.method, attempt.answer
			if got := rigtest.Do(t, newcomer, request).Status; got != attempt.status {
				t.Errorf("%s, answer %q: got status %d, want %d", attempt.method, attempt.answer, got, attempt.status)
			}
			rigtest.WantFlow(t, r, healthy)
		}
		rigtest.WantLive(t, r, client, healthy)
		rigtest.WantCountsSince(t, r, "rejected", before, rigtest.Counts{Opened: 1, Active: 1})

		healthy.Close()
		rigtest.WantCountsSince(t, r, "rejected", before, rigtest.Counts{Opened: 1, Released: 1})
	})
}
