package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A client opens as many streams as its rule allows, all of them at the same moment and on all workers, so that the
// workers write the client's entry at the same time. Every one of them stays; a write that was lost would cost a stream
// of the client's at its worker's next look into the registry.
func TestAllAllowedStreamsStay(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	const allowed, rounds = 64, 10 // max_streams; clients, one after the other
	var conns []*rig.Conn
	for worker := range 4 {
		conns = append(conns, dial(t, r, rig.HTTP2, worker))
	}
	streams := make(map[string][]*rig.Stream)
	for _, client := range newClients(rounds) {
		opened := make([]*rig.Stream, allowed)
		var all sync.WaitGroup
		for i := range opened {
			all.Go(func() {
				s, err := conns[i%len(conns)].Open(t.Context(), get("crowd", client))
				if err != nil {
					t.Error(err)
					return
				}
				opened[i] = s
			})
		}
		all.Wait()
		streams[client] = opened
	}
	if t.Failed() {
		return
	}
	time.Sleep(3 * time.Second) // a tick, on which streams are looked up, comes once a second
	for client, opened := range streams {
		wantLive(t, r, client, opened...)
		for _, s := range opened {
			if !s.Live() {
				t.Errorf("stream %d has ended", s.ID)
			}
		}
	}
	wantCounts(t, r, "crowd", counts{opened: rounds * allowed, active: rounds * allowed})

	for _, opened := range streams {
		for _, s := range opened {
			s.Close()
		}
	}
	wantCounts(t, r, "crowd", counts{opened: rounds * allowed, released: rounds * allowed})

	// Nor has any end been lost: the place of each is free for the next.
	for client := range streams {
		next := make([]*rig.Stream, allowed)
		for i := range next {
			next[i] = open(t, conns[i%len(conns)], get("crowd", client))
		}
		wantLive(t, r, client, next...)
	}
	wantCounts(t, r, "crowd", counts{opened: 2 * rounds * allowed, released: rounds * allowed, active: rounds * allowed})
}
