//go:build etcd

package tiers

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// A front tier before a fleet: when an Envoy is added and some clients go to it, their old streams
// end all the same. Compare TestAnEnvoyIsAdded.
func TestAnEnvoyIsAddedToAFleet(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	behind := fleettest.Envoys(t, 3, fleettest.Options{Ports: e.Ports(t)})
	before, after := front(t, behind[:2]), front(t, behind)
	clients := rigtest.NewClients(24)
	moved := map[string]bool{} // to another Envoy
	for _, client := range clients {
		old := openRule(t, before, client)
		from := perHost(t, behind)
		fresh := openRule(t, after, client)
		rigtest.WantEnd(t, old, rig.Reset)
		rigtest.WantLive(t, behind[0], client, fresh)
		if from[2] < perHost(t, behind)[2] {
			moved[client] = true
		}
	}
	if len(moved) == 0 || len(moved) == len(clients) {
		t.Errorf("%d of %d clients have moved to the new Envoy, want some", len(moved), len(clients))
	}
	e.WantStreams(t, len(clients))
}

// openRule opens a stream by the rule of the fleet's tests, through a worker of a front tier.
func openRule(t *testing.T, r *rig.Rig, client string) *rig.Stream {
	t.Helper()
	return rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Get("events", client))
}
