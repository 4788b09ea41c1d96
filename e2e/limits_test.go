package e2e

import (
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A rule allows two streams: the third ends the oldest.
func TestTwoStreamsAllowed(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	protocols(t, func(t *testing.T, p rig.Protocol) {
		before := countsOf(metrics(t, r), "two")
		client := newClient()
		var streams []*rig.Stream
		for worker := range 2 {
			streams = append(streams, open(t, dial(t, r, p, worker), get("two", client)))
		}
		wantLive(t, r, client, streams...)
		wantCountsSince(t, r, "two", before, counts{opened: 2, active: 2})
		for i, worker := range []int{3, 0, 0} {
			streams = append(streams, open(t, dial(t, r, p, worker), get("two", client)))
			wantEnd(t, streams[i], rig.Reset)
			wantLive(t, r, client, streams[i+1:]...)
			wantFlow(t, r, streams[i+1])
			wantFlow(t, r, streams[i+2])
		}
		wantCountsSince(t, r, "two", before, counts{opened: 5, superseded: 3, active: 2})
		streams[3].Close()
		streams[4].Close()
		wantCountsSince(t, r, "two", before, counts{opened: 5, superseded: 3, released: 2})
	})
}

// In observe mode the filter counts what it would do, and touches nothing.
func TestObserve(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	client := newClient()
	var streams []*rig.Stream
	for worker, p := range []rig.Protocol{rig.HTTP1, rig.HTTP2, rig.HTTP1, rig.HTTP2} {
		streams = append(streams, open(t, dial(t, r, p, worker), get("observe", client)))
	}
	streams = append(streams, open(t, dial(t, r, rig.HTTP2, 3), get("observe", client)))
	wantCounts(t, r, "observe", counts{opened: 5, superseded: 4, active: 1})
	time.Sleep(3 * time.Second) // what the filter might do to them it does by its next tick, a second from now
	wantLive(t, r, client, streams...)
	for _, s := range streams {
		wantFlow(t, r, s)
		s.Close()
	}
	wantLive(t, r, client)
	wantCounts(t, r, "observe", counts{opened: 5, superseded: 4, released: 1})
}
