//go:build etcd

package outages

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// behindLink starts two Envoys. The first reaches etcd over a link.
func behindLink(t *testing.T, e *fleettest.Etcd, leaseTTL string) (l *fleettest.Link, cut, well *rig.Rig) {
	t.Helper()
	l = fleettest.NewLink(t, e.Nodes[0].Address)
	cut = fleettest.Envoys(t, 1, fleettest.Options{Ports: []int{l.Port}, LeaseTTL: leaseTTL})[0]
	well = fleettest.Envoys(t, 1, fleettest.Options{Ports: e.Ports(t), Backend: cut})[0]
	return l, cut, well
}

func wantMetric(t *testing.T, r *rig.Rig, name string, least uint64) {
	t.Helper()
	wait.Until(t, func() error {
		if n := rigtest.Metrics(t, r)[name]; n < least {
			return fmt.Errorf("%s is %d, want %d at least", name, n, least)
		}
		return nil
	})
}

// One Envoy is cut off from etcd for longer than its leases last, and nobody tells it. Its streams
// live on, also those whose clients have moved. When it is back the newest stay, wherever they are.
func TestCutOff(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	link, cut, well := behindLink(t, e, "5s")
	stays, moves, comes, fresh := rigtest.NewClient(), rigtest.NewClient(), rigtest.NewClient(), rigtest.NewClient()
	stayed := fleettest.Open(t, cut, rig.HTTP2, 0, stays)
	left := fleettest.Open(t, cut, rig.HTTP2, 1, moves)
	before := fleettest.Open(t, well, rig.HTTP2, 0, comes)
	e.WantStreams(t, 3)
	link.Cut()
	e.WantStreams(t, 1) // the leases of the first Envoy have ended
	moved := fleettest.Open(t, well, rig.HTTP2, 1, moves)
	came := fleettest.Open(t, cut, rig.HTTP2, 0, comes)
	alone := fleettest.Open(t, cut, rig.HTTP2, 1, fresh)
	e.WantStreams(t, 2)
	rigtest.WantLive(t, cut, moves, left, moved)
	rigtest.WantLive(t, cut, comes, before, came)
	link.Mend()
	rigtest.WantEnd(t, left, rig.Reset)
	rigtest.WantEnd(t, before, rig.Reset)
	e.WantStreams(t, 4)
	for client, s := range map[string]*rig.Stream{stays: stayed, moves: moved, comes: came, fresh: alone} {
		rigtest.WantLive(t, cut, client, s)
	}
	for _, s := range []*rig.Stream{stayed, moved, came, alone} {
		s.Close()
	}
	e.WantStreams(t, 0)
}

// While an Envoy's watch is cut, a client moves on, and etcd forgets all that was before. The Envoy
// finds out from a list of its keys.
func TestCompactedWhileCut(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	link, cut, well := behindLink(t, e, "60s")
	stays, moves := rigtest.NewClient(), rigtest.NewClient()
	stayed, left := fleettest.Open(t, cut, rig.HTTP2, 0, stays), fleettest.Open(t, cut, rig.HTTP2, 0, moves)
	e.WantStreams(t, 2)
	link.Cut()
	moved := fleettest.Open(t, well, rig.HTTP2, 0, moves)
	e.WantStreams(t, 2)
	e.Compact(t)
	link.Break()
	link.Mend()
	rigtest.WantEnd(t, left, rig.Reset)
	rigtest.WantLive(t, cut, stays, stayed)
	rigtest.WantLive(t, cut, moves, moved)
	e.WantStreams(t, 2)
	wantMetric(t, cut, "fleet_resyncs", 1)
	if lost := rigtest.Metrics(t, cut)["fleet_leases_lost"]; lost > 0 {
		t.Errorf("fleet_leases_lost is %d, want 0: the watch alone was to be lost", lost)
	}
}

// A watch reaches etcd when its revision has been forgotten. etcd says so, and the Envoy lists its
// keys. In the meantime, one of its streams was superseded.
func TestWatchFromAForgottenRevision(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	between := fleettest.NewBetween(t, e.Nodes[0].Address)
	late := fleettest.Envoys(t, 1, fleettest.Options{Ports: []int{between.Port}})[0]
	well := fleettest.Envoys(t, 1, fleettest.Options{Ports: e.Ports(t), Backend: late})[0]
	compacted := make(chan struct{})
	between.Answer(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/etcdserverpb.Watch/Watch" {
			select {
			case <-compacted:
			case <-r.Context().Done():
			}
		}
		return false
	})
	client := rigtest.NewClient()
	old := fleettest.Open(t, late, rig.HTTP2, 0, client)
	e.WantStreams(t, 1)
	fresh := fleettest.Open(t, well, rig.HTTP2, 0, client)
	e.WantStreams(t, 1)
	e.Compact(t)
	close(compacted)
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantLive(t, late, client, fresh)
	again := fleettest.Open(t, late, rig.HTTP2, 0, client) // it is watched now
	last := fleettest.Open(t, well, rig.HTTP2, 0, client)
	rigtest.WantEnd(t, again, rig.Reset)
	rigtest.WantLive(t, late, client, last)
	wait.Until(t, func() error {
		const want = `fleet watch broken cluster=etcd fault="watch cancelled: `
		if len(late.Log.Containing(want)) == 0 {
			return fmt.Errorf("the log has no line %s", want)
		}
		return nil
	})
}
