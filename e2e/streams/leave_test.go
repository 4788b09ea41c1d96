package streams

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// A client closes its page, or its connection breaks. Nothing of its stream is left.
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, way := range []struct {
			name  string
			leave func(*rig.Conn, *rig.Stream)
		}{
			{"the stream is closed", func(_ *rig.Conn, s *rig.Stream) { s.Close() }},
			{"the connection is closed", func(c *rig.Conn, _ *rig.Stream) { c.Close() }},
		} {
			t.Run(way.name, func(t *testing.T) {
				before := rigtest.CountsOf(rigtest.Metrics(t, r), "leave")
				client := rigtest.NewClient()
				conn := rigtest.Dial(t, r, p, 3)
				s := rigtest.Open(t, conn, rigtest.Get("leave", client))
				rigtest.WantLive(t, r, client, s)
				rigtest.WantCountsSince(t, r, "leave", before, rigtest.Counts{Opened: 1, Active: 1})
				way.leave(conn, s)
				rigtest.WantLive(t, r, client)
				rigtest.WantCountsSince(t, r, "leave", before, rigtest.Counts{Opened: 1, Released: 1})
			})
		}
	})
}

// The backend ends a stream in an orderly way. The client gets this end, and can open the next
// stream.
func TestBackendFinishesStream(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		before := rigtest.CountsOf(rigtest.Metrics(t, r), "finish")
		client := rigtest.NewClient()
		conn := rigtest.Dial(t, r, p, 2)
		s := rigtest.Open(t, conn, rigtest.Get("finish", client))
		rigtest.WantLive(t, r, client, s)
		r.Backend.End(s.ID)
		rigtest.WantEnd(t, s, rig.Finished)
		rigtest.WantCountsSince(t, r, "finish", before, rigtest.Counts{Opened: 1, Released: 1})

		next := rigtest.Open(t, conn, rigtest.Get("finish", client))
		rigtest.WantFlow(t, r, next)
		next.Close()
		rigtest.WantCountsSince(t, r, "finish", before, rigtest.Counts{Opened: 2, Released: 2})
	})
}
