package streams

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// Two streams of one client on one HTTP/2 connection: the takeover costs the first stream, and neither the connection
// nor another client's stream on it.
func TestTakeoverOnOneConnection(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	client, other := rigtest.NewClient(), rigtest.NewClient()
	conn := rigtest.Dial(t, r, rig.HTTP2, 1)
	old := rigtest.Open(t, conn, rigtest.Get("mux", client))
	bystander := rigtest.Open(t, conn, rigtest.Get("mux", other))
	newer := rigtest.Open(t, conn, rigtest.Get("mux", client))

	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantLive(t, r, client, newer)
	rigtest.WantFlow(t, r, newer)
	rigtest.WantFlow(t, r, bystander)
	rigtest.WantCounts(t, r, "mux", rigtest.Counts{Opened: 3, Superseded: 1, Active: 2})

	third := rigtest.Open(t, conn, rigtest.Get("mux", client))
	rigtest.WantEnd(t, newer, rig.Reset)
	rigtest.WantFlow(t, r, third)
	rigtest.WantFlow(t, r, bystander)
	if !conn.Usable() {
		t.Error("the connection takes no more requests")
	}
	rigtest.WantCounts(t, r, "mux", rigtest.Counts{Opened: 4, Superseded: 2, Active: 2})
}
