//go:build etcd

// Package outages tests a fleet whose etcd, network or clocks fail, with a real etcd and real
// Envoys.
package outages

import (
	"fmt"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// crowd is clients with a stream each, spread over Envoys and their workers.
type crowd struct {
	envoys  []*rig.Rig
	conns   []*rig.Conn // one to each worker
	clients []string
	streams []*rig.Stream
}

func newCrowd(t *testing.T, envoys []*rig.Rig, n int) *crowd {
	t.Helper()
	c := &crowd{envoys: envoys, clients: rigtest.NewClients(n), streams: make([]*rig.Stream, n)}
	for _, r := range envoys {
		for worker := range 2 {
			c.conns = append(c.conns, rigtest.Dial(t, r, rig.HTTP2, worker))
		}
	}
	for i := range n {
		c.move(t, i, i)
	}
	return c
}

// move makes a client open a stream at a worker, counted over all Envoys.
func (c *crowd) move(t *testing.T, client, worker int) {
	t.Helper()
	c.streams[client] = rigtest.Open(t, c.conns[worker%len(c.conns)], rigtest.Get("events", c.clients[client]))
}

// wantLive checks that each client has its newest stream, and no other.
func (c *crowd) wantLive(t *testing.T) {
	t.Helper()
	for i, client := range c.clients {
		rigtest.WantLive(t, c.envoys[0], client, c.streams[i])
		if !c.streams[i].Live() {
			t.Errorf("the newest stream of client %d has ended", i)
		}
	}
}

// wantRegistered waits until no Envoy has a stream that etcd does not have.
func (c *crowd) wantRegistered(t *testing.T) {
	t.Helper()
	for i, r := range c.envoys {
		wait.Until(t, func() error {
			if n := rigtest.Metrics(t, r)["fleet_unregistered"]; n > 0 {
				return fmt.Errorf("Envoy %d has %d unregistered streams, want none", i, n)
			}
			return nil
		})
	}
}

// leave makes all clients go.
func (c *crowd) leave() {
	for _, s := range c.streams {
		s.Close()
	}
}

// One of three nodes dies, the leader. No stream ends. Clients move on meanwhile, and when all is
// quiet each has its newest stream, registered. The node comes back and nobody notices.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 3)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Ports: e.Ports(t)})
	c := newCrowd(t, envoys, 12)
	e.WantStreams(t, 12)
	leader := e.Leader(t)
	leader.Kill()
	for i := range 6 {
		c.move(t, i, i+2) // to the other Envoy
	}
	e.WantStreams(t, 12)
	c.wantRegistered(t)
	c.wantLive(t)
	for _, r := range envoys { // from here on the dead node gets no calls
		wait.Until(t, func() error {
			if n := rigtest.StatsUnder(t, r, "cluster.etcd.")["membership_healthy"]; n != 2 {
				return fmt.Errorf("Envoy takes %d nodes for healthy, want 2", n)
			}
			return nil
		})
	}
	for i := range 12 {
		c.move(t, i, i+3)
	}
	e.WantStreams(t, 12)
	c.wantRegistered(t)
	c.wantLive(t)
	leader.Start(t)
	c.leave()
	e.WantStreams(t, 0)
}

// Two of three nodes stand still for longer than the leases last, and then go on. Only a leader
// ends leases, so no stream ends. Those that came meanwhile are registered, and the newest stay.
func TestQuorumLost(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 3)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Ports: e.Ports(t)})
	c := newCrowd(t, envoys, 12)
	e.WantStreams(t, 12)
	for _, n := range e.Nodes[:2] {
		n.Stop(t)
	}
	for i := range 6 {
		c.move(t, i, i+2)
	}
	for _, s := range c.streams {
		if !s.Live() {
			t.Error("a stream has ended while etcd had no quorum")
		}
	}
	for _, n := range e.Nodes[:2] {
		n.GoOn(t)
	}
	e.WantStreams(t, 12)
	c.wantRegistered(t)
	c.wantLive(t)
	c.leave()
	e.WantStreams(t, 0)
}
