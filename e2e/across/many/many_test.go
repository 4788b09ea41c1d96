//go:build etcd

// Package many tests a fleet with many streams, or many that end at once.
package many

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// All streams of a worker lose their place at once, in one message to each of its members. Each
// ends, none twice, and Envoy goes on.
func TestManyDeletes(t *testing.T) {
	t.Parallel()
	const streams, conns = 5000, 6
	e := fleettest.StartEtcd(t, 1)
	r := fleettest.Envoys(t, 1, fleettest.Options{Ports: e.Ports(t), LeaseTTL: "60s"})[0]
	opened := make([]*rig.Stream, streams)
	var all sync.WaitGroup
	for i := range conns {
		const atOnce = 8
		c := rigtest.Dial(t, r, rig.HTTP2, 0)
		for k := range atOnce {
			all.Go(func() {
				for n := i*atOnce + k; n < streams; n += conns * atOnce {
					client := rigtest.NewClient()
					s, err := c.Open(t.Context(), rigtest.Get("events", client))
					if err != nil {
						t.Errorf("stream %d: %v", n, err)
						return
					}
					opened[n] = s
				}
			})
		}
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	e.WantStreams(t, streams)
	members, err := e.Keys(t.Context(), "streamlatch/1/m/")
	if err != nil {
		t.Fatal(err)
	}
	gone := []string{"streamlatch/1/c/"}
	for _, key := range members {
		if strings.HasSuffix(key, "/") { // of the member itself
			gone = append(gone, key+"0")
		}
	}
	if n := len(gone) - 1; n != 3 {
		t.Errorf("the worker has %d members, want 3: one for each 2,000 streams", n)
	}
	e.DeleteFrom(t, gone...)
	for _, s := range opened {
		rigtest.WantEnd(t, s, rig.Reset)
	}
	wait.Until(t, func() error {
		if n := len(r.Backend.All()); n > 0 {
			return fmt.Errorf("the backend has streams of %d clients, want none", n)
		}
		return nil
	})
	rigtest.WantCounts(t, r, "events", rigtest.Counts{Opened: streams}) // who takes a place counts it
	if n := rigtest.StatsUnder(t, r, "http.edge.")["downstream_rq_tx_reset"]; n != streams {
		t.Errorf("Envoy has reset %d streams, want %d", n, streams)
	}
	if failed := r.Log.Containing("failed error"); len(failed) > 0 {
		t.Errorf("the log complains:\n%s", strings.Join(failed, "\n"))
	}
	last := fleettest.Open(t, r, rig.HTTP2, 0, rigtest.NewClient())
	e.WantStreams(t, 1)
	last.Close()
	e.WantStreams(t, 0)
	rigtest.WantReasons(t, r, map[string]int{"superseded": streams})
}
