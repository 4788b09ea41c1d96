package streams

import (
	"fmt"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// A client has stopped reading, and all buffers between it and the backend are full. A takeover
// ends the stream at the backend all the same.
func TestTakeoverFromClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, place := range []struct {
			name   string
			worker int
		}{{"same worker", 0}, {"another worker", 1}} {
			t.Run(place.name, func(t *testing.T) {
				before := rigtest.CountsOf(rigtest.Metrics(t, r), "slow")
				client := rigtest.NewClient()
				request := rigtest.Get("slow", client)
				request.Answer = rig.Flood
				old, err := rigtest.Dial(t, r, p, 0).OpenUnread(t.Context(), request)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(old.Close)
				sent := 0
				wait.Until(t, func() error {
					last := sent
					time.Sleep(200 * time.Millisecond)
					if sent = r.Backend.Sent(old.ID); sent == 0 || sent != last {
						return fmt.Errorf("want full buffers, but the backend can still send: %d bytes so far", sent)
					}
					return nil
				})
				newer := rigtest.Open(t, rigtest.Dial(t, r, p, place.worker), rigtest.Get("slow", client))
				rigtest.WantLive(t, r, client, newer)
				rigtest.WantFlow(t, r, newer)
				rigtest.WantCountsSince(t, r, "slow", before, rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})
				newer.Close()
				rigtest.WantCountsSince(t, r, "slow", before, rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
			})
		}
	})
}
