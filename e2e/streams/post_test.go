package streams

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// MCP servers and LLM APIs answer a POST with an event stream. The filter treats it like any other
// stream.
func TestPostAnsweredWithEvents(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		before := rigtest.CountsOf(rigtest.Metrics(t, r), "post")
		client := rigtest.NewClient()
		request := rigtest.Get("post", client)
		request.Method = "POST"
		request.Header = map[string]string{"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
		request.Body = `{"jsonrpc":"2.0","id":1,"method":"initialize"}`

		old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), request)
		if got := <-old.Events(); got != request.Body {
			t.Errorf("body at the backend: got %q, want %q", got, request.Body)
		}
		newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), request)
		rigtest.WantEnd(t, old, rig.Reset)
		rigtest.WantFlow(t, r, newer)
		rigtest.WantLive(t, r, client, newer)
		rigtest.WantCountsSince(t, r, "post", before, rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})
		newer.Close()
		rigtest.WantCountsSince(t, r, "post", before, rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
	})
}
