package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A client has stopped reading, and everything between it and the backend is full. A takeover frees the backend all
// the same.
func TestTakeoverFromClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, place := range []struct {
			name   string
			worker int
		}{{"same worker", 0}, {"another worker", 1}} {
			t.Run(place.name, func(t *testing.T) {
				before := countsOf(metrics(t, r), "slow")
				client := newClient()
				request := get("slow", client)
				request.Answer = rig.Flood
				old, err := dial(t, r, p, 0).OpenUnread(t.Context(), request)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(old.Close)
				sent := 0
				eventually(t, func() error {
					last := sent
					time.Sleep(200 * time.Millisecond)
					if sent = r.Backend.Sent(old.ID); sent == 0 || sent != last {
						return fmt.Errorf("the backend can still send: %d bytes", sent)
					}
					return nil
				})
				newer := open(t, dial(t, r, p, place.worker), get("slow", client))
				wantLive(t, r, client, newer)
				wantFlow(t, r, newer)
				wantCountsSince(t, r, "slow", before, counts{opened: 2, superseded: 1, active: 1})
				newer.Close()
				wantCountsSince(t, r, "slow", before, counts{opened: 2, superseded: 1, released: 1})
			})
		}
	})
}
