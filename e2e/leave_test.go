package e2e

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A client closes its page, or its connection breaks: nothing is left of its stream.
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, way := range []struct {
			name  string
			leave func(*rig.Conn, *rig.Stream)
		}{
			{"the stream is closed", func(_ *rig.Conn, s *rig.Stream) { s.Close() }},
			{"the connection is closed", func(c *rig.Conn, _ *rig.Stream) { c.Close() }},
		} {
			t.Run(way.name, func(t *testing.T) {
				before := countsOf(metrics(t, r), "leave")
				client := newClient()
				conn := dial(t, r, p, 3)
				s := open(t, conn, get("leave", client))
				wantLive(t, r, client, s)
				wantCountsSince(t, r, "leave", before, counts{opened: 1, active: 1})
				way.leave(conn, s)
				wantLive(t, r, client)
				wantCountsSince(t, r, "leave", before, counts{opened: 1, released: 1})
			})
		}
	})
}

// A backend that ends a stream in good order is not disturbed, and the client is free to open the next.
func TestBackendFinishesStream(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	protocols(t, func(t *testing.T, p rig.Protocol) {
		before := countsOf(metrics(t, r), "finish")
		client := newClient()
		conn := dial(t, r, p, 2)
		s := open(t, conn, get("finish", client))
		wantLive(t, r, client, s)
		r.Backend.End(s.ID)
		wantEnd(t, s, rig.Finished)
		wantCountsSince(t, r, "finish", before, counts{opened: 1, released: 1})

		next := open(t, conn, get("finish", client))
		wantFlow(t, r, next)
		next.Close()
		wantCountsSince(t, r, "finish", before, counts{opened: 2, released: 2})
	})
}
