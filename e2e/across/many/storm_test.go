//go:build etcd

package many

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// Clients open streams at random, at all Envoys and workers at once. In the end each has one: at
// its own end, at the backend, in the registries of the Envoys, and in etcd. Nothing is left when
// all have gone.
func TestStorm(t *testing.T) {
	t.Parallel()
	const clients, opens = 200, 20
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 3, fleettest.Options{Rule: `"takeover_limit": false`, Ports: e.Ports(t)})
	var conns []*rig.Conn
	for i := range 6 {
		conns = append(conns, rigtest.Dial(t, envoys[i%3], rig.HTTP2, i/3))
	}
	names := rigtest.NewClients(clients)
	streams := make([][]*rig.Stream, clients)
	var all sync.WaitGroup
	for i, client := range names {
		all.Go(func() {
			for range opens {
				s, err := conns[rand.IntN(len(conns))].Open(t.Context(), rigtest.Get("events", client))
				if err != nil { // it was superseded before its response
					continue
				}
				streams[i] = append(streams[i], s)
			}
		})
	}
	all.Wait()
	e.WantStreams(t, clients)
	for i, client := range names {
		wait.Until(t, func() error {
			live := 0
			for _, s := range streams[i] {
				if s.Live() {
					live++
				}
			}
			if at := len(envoys[0].Backend.Live(client)); live != 1 || at != 1 {
				return fmt.Errorf("client %d has %d streams, and the backend %d, want 1", i, live, at)
			}
			return nil
		})
	}
	wantActive(t, envoys, clients)
	for _, of := range streams {
		for _, s := range of {
			s.Close()
		}
	}
	e.WantStreams(t, 0)
	wantActive(t, envoys, 0)
}

// wantActive waits until so many streams are in the registries of all Envoys.
func wantActive(t *testing.T, envoys []*rig.Rig, want int) {
	t.Helper()
	wait.Until(t, func() error {
		all := 0
		for _, r := range envoys {
			var status struct{ Totals struct{ Active int } }
			answer := rigtest.Do(t, rigtest.Operator(t, r, rig.HTTP2), rig.Request{Path: "/streamlatch"})
			if err := json.Unmarshal([]byte(answer.Body), &status); err != nil {
				return fmt.Errorf("status %q: %w", answer.Body, err)
			}
			all += status.Totals.Active
		}
		if all != want {
			return fmt.Errorf("the registries have %d streams, want %d", all, want)
		}
		return nil
	})
}
