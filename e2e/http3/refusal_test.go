package http3

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// A refusal arrives over HTTP/3 as over the others.
func refusals(t *testing.T, e edge) {
	for _, rule := range []string{"duplicate", "hasty"} {
		for _, accept := range []string{"text/event-stream", "application/json, text/event-stream"} {
			t.Run(rule+"/"+accept, func(t *testing.T) {
				client := rigtest.NewClient()
				held := rigtest.Open(t, e.dial(t, rig.HTTP3, 0), rigtest.Get(rule, client))
				q := rigtest.Get(rule, client)
				q.Header = map[string]string{"accept": accept}
				got := rigtest.Do(t, e.dial(t, rig.HTTP3, 1), q)
				if got.Status != 409 || got.Body != "{\"reason\":\"duplicate\"}\n" || got.Header.Get("retry-after") == "" {
					t.Errorf("got %+v, want 409, a reason and retry-after", got)
				}
				rigtest.WantFlow(t, e.Rig, held)
				rigtest.WantLive(t, e.Rig, client, held)
			})
		}
	}
	t.Run("limited", func(t *testing.T) {
		client := rigtest.NewClient()
		first := rigtest.Open(t, e.dial(t, rig.HTTP3, 0), rigtest.Get("limited", client))
		held := rigtest.Open(t, e.dial(t, rig.HTTP3, 1), rigtest.Get("limited", client))
		rigtest.WantEnd(t, first, rig.Reset)
		conn := e.dial(t, rig.HTTP3, 0)

		got := rigtest.Do(t, conn, rigtest.Get("limited", client))
		m := rigtest.SoftRefusal.FindStringSubmatch(got.Body)
		if got.Status != 200 || got.Header.Get("content-type") != "text/event-stream" || m == nil || m[2] != "takeover_limit" {
			t.Errorf("an EventSource got %+v, want a stream that says when to come back", got)
		}
		q := rigtest.Get("limited", client)
		q.Header = map[string]string{"accept": "application/json, text/event-stream"}
		if got := rigtest.Do(t, conn, q); got.Status != 429 {
			t.Errorf("a program got %+v, want 429", got)
		}
		rigtest.WantFlow(t, e.Rig, held)
		rigtest.WantLive(t, e.Rig, client, held)
	})
}
