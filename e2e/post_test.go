package e2e

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// MCP servers and LLM APIs answer a POST with an event stream. It is one like any other.
func TestPostAnsweredWithEvents(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	protocols(t, func(t *testing.T, p rig.Protocol) {
		before := countsOf(metrics(t, r), "post")
		client := newClient()
		request := get("post", client)
		request.Method = "POST"
		request.Header = map[string]string{"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
		request.Body = `{"jsonrpc":"2.0","id":1,"method":"initialize"}`

		old := open(t, dial(t, r, p, 0), request)
		if got := <-old.Events(); got != request.Body {
			t.Errorf("the backend got the body %q, want %q", got, request.Body)
		}
		newer := open(t, dial(t, r, p, 1), request)
		wantEnd(t, old, rig.Reset)
		wantFlow(t, r, newer)
		wantLive(t, r, client, newer)
		wantCountsSince(t, r, "post", before, counts{opened: 2, superseded: 1, active: 1})
		newer.Close()
		wantCountsSince(t, r, "post", before, counts{opened: 2, superseded: 1, released: 1})
	})
}
