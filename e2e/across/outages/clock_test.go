//go:build etcd

package outages

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/filter/fleet"
)

// A stream has the stamp of an Envoy whose clock is an hour ahead. Newer streams get larger stamps
// all the same, and stay. Real clocks that differ are in the simulated world of filter/fleet only.
func TestStampAhead(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Ports: e.Ports(t)})
	client := rigtest.NewClient()
	first := fleettest.Open(t, envoys[0], rig.HTTP2, 0, client)
	key := e.WantStreams(t, 1)[0]
	record := e.Get(t, key)
	if _, err := fleet.ParseRecord(record); err != nil {
		t.Fatal(err)
	}
	const random = 22 // bits
	ahead := uint64(time.Now().Add(time.Hour).UnixMilli()) << random
	binary.BigEndian.PutUint64(record, ahead)
	e.Replace(t, key, record)
	second := fleettest.Open(t, envoys[1], rig.HTTP2, 0, client)
	rigtest.WantEnd(t, first, rig.Reset)
	third := fleettest.Open(t, envoys[0], rig.HTTP2, 0, client)
	rigtest.WantEnd(t, second, rig.Reset)
	rigtest.WantLive(t, envoys[0], client, third)
	for _, r := range envoys {
		wantMetric(t, r, "fleet_clock_ahead", 1)
	}
	last, err := fleet.ParseRecord(e.Get(t, e.WantStreams(t, 1)[0]))
	if err != nil || uint64(last.Stamp) <= ahead {
		t.Errorf("the newest stream has the stamp %d (%v), want more than %d", last.Stamp, err, ahead)
	}
}
