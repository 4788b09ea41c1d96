package e2e

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// Two streams of one client on one HTTP/2 connection: the takeover costs the first stream, and neither the connection
// nor another client's stream on it.
func TestTakeoverOnOneConnection(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	client, other := newClient(), newClient()
	conn := dial(t, r, rig.HTTP2, 1)
	old := open(t, conn, get("mux", client))
	bystander := open(t, conn, get("mux", other))
	newer := open(t, conn, get("mux", client))

	wantEnd(t, old, rig.Reset)
	wantLive(t, r, client, newer)
	wantFlow(t, r, newer)
	wantFlow(t, r, bystander)
	wantCounts(t, r, "mux", counts{opened: 3, superseded: 1, active: 2})

	third := open(t, conn, get("mux", client))
	wantEnd(t, newer, rig.Reset)
	wantFlow(t, r, third)
	wantFlow(t, r, bystander)
	if !conn.Usable() {
		t.Error("the connection takes no more requests")
	}
	wantCounts(t, r, "mux", counts{opened: 4, superseded: 2, active: 2})
}
