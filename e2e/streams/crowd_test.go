package streams

import (
	"sync"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// A client opens as many streams as its rule allows, all at the same moment and on all workers, so
// the workers write the client's entry at the same time. Every stream must stay. If a write were
// lost, its stream would end when the worker next looks it up in the registry.
func TestAllAllowedStreamsStay(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	const allowed, rounds = 64, 10 // max_streams, and the number of clients
	var conns []*rig.Conn
	for worker := range 4 {
		conns = append(conns, rigtest.Dial(t, r, rig.HTTP2, worker))
	}
	streams := make(map[string][]*rig.Stream)
	for _, client := range rigtest.NewClients(rounds) {
		opened := make([]*rig.Stream, allowed)
		var all sync.WaitGroup
		for i := range opened {
			all.Go(func() {
				s, err := conns[i%len(conns)].Open(t.Context(), rigtest.Get("crowd", client))
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
	time.Sleep(3 * time.Second) // a tick looks up the streams, once a second
	for client, opened := range streams {
		rigtest.WantLive(t, r, client, opened...)
		for _, s := range opened {
			if !s.Live() {
				t.Errorf("stream %d: got its end, want it open", s.ID)
			}
		}
	}
	rigtest.WantCounts(t, r, "crowd", rigtest.Counts{Opened: rounds * allowed, Active: rounds * allowed})

	for _, opened := range streams {
		for _, s := range opened {
			s.Close()
		}
	}
	rigtest.WantCounts(t, r, "crowd", rigtest.Counts{Opened: rounds * allowed, Released: rounds * allowed})

	// No end was lost either: the client can open as many streams again.
	for client := range streams {
		next := make([]*rig.Stream, allowed)
		for i := range next {
			next[i] = rigtest.Open(t, conns[i%len(conns)], rigtest.Get("crowd", client))
		}
		rigtest.WantLive(t, r, client, next...)
	}
	rigtest.WantCounts(t, r, "crowd", rigtest.Counts{Opened: 2 * rounds * allowed, Released: rounds * allowed, Active: rounds * allowed})
}
