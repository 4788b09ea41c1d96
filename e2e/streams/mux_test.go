package streams

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// One client opens two streams on the same HTTP/2 connection. The takeover resets the first stream.
// The connection, and another client's stream on it, go on.
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
		t.Error("the connection: want it to take more requests")
	}
	rigtest.WantCounts(t, r, "mux", rigtest.Counts{Opened: 4, Superseded: 2, Active: 2})
}
