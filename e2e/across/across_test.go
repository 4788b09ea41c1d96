//go:build etcd

// Package across tests several Envoys whose clients' streams are limited over all of them, with a
// real etcd.
package across

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/filter/reply"
)

// A client opens a stream at another Envoy. The first is reset, at its client and at the backend.
func TestTakeover(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Ports: e.Ports(t)})
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		client := rigtest.NewClient()
		old := fleettest.Open(t, envoys[0], p, 0, client)
		e.WantStreams(t, 1)
		fresh := fleettest.Open(t, envoys[1], p, 1, client)
		rigtest.WantEnd(t, old, rig.Reset)
		rigtest.WantLive(t, envoys[0], client, fresh)
		rigtest.WantFlow(t, envoys[0], fresh)
		again := fleettest.Open(t, envoys[1], p, 0, client) // within one Envoy
		rigtest.WantEnd(t, fresh, rig.Reset)
		e.WantStreams(t, 1)
		again.Close()
		e.WantStreams(t, 0)
	})
}

// While etcd does not answer, each Envoy lets newcomers in alone, and nobody waits after the first.
// When it answers again, the newest stream is left.
func TestEtcdAway(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Ports: e.Ports(t)})
	first := fleettest.Open(t, envoys[0], rig.HTTP2, 0, rigtest.NewClient())
	e.WantStreams(t, 1)
	e.Stop(t)
	client := rigtest.NewClient()
	old := fleettest.Open(t, envoys[0], rig.HTTP2, 0, client)
	fresh := fleettest.Open(t, envoys[1], rig.HTTP2, 0, client)
	if !old.Live() || !first.Live() {
		t.Error("a stream has ended while etcd did not answer")
	}
	e.GoOn(t)
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantLive(t, envoys[0], client, fresh)
	e.WantStreams(t, 2)
	if !first.Live() {
		t.Error("the stream that was there before has ended")
	}
}

// All leases end by mistake. No stream ends, and all are registered again.
func TestLeasesRevoked(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Ports: e.Ports(t)})
	var streams []*rig.Stream
	for i := range 8 {
		streams = append(streams, fleettest.Open(t, envoys[i%2], rig.HTTP2, i/2%2, rigtest.NewClient()))
	}
	before := e.WantStreams(t, 8)
	if n := e.RevokeAll(t); n != 4 {
		t.Errorf("%d leases were revoked, want 4: one of each worker", n)
	}
	wait.Until(t, func() error {
		for _, key := range e.WantStreams(t, 8) {
			if slices.Contains(before, key) {
				return fmt.Errorf("etcd has the stream %s under its first lease", key)
			}
		}
		return nil
	})
	time.Sleep(5 * time.Second) // the self-check of each Envoy's own registry
	for i, s := range streams {
		if !s.Live() {
			t.Errorf("stream %d has ended", i)
		}
	}
}

// An Envoy crashes. Its streams keep their place until its leases end, and then nothing is left.
func TestCrash(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Rule: `"on_duplicate": "reject_new"`, Ports: e.Ports(t)})
	client := rigtest.NewClient()
	fleettest.Open(t, envoys[1], rig.HTTP2, 0, client)
	c := rigtest.Dial(t, envoys[0], rig.HTTP2, 0)
	if r := rigtest.Do(t, c, rigtest.Get("events", client)); r.Status != 409 {
		t.Errorf("status %d, want 409: the client has its stream at the other Envoy", r.Status)
	}
	if err := syscall.Kill(envoys[1].Envoy().PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, func() error {
		keys, err := e.Keys(t.Context(), "streamlatch/1/")
		if err == nil && len(keys) > 1 { // the first Envoy's member stays
			err = fmt.Errorf("etcd has %q, want one member and no stream", keys)
		}
		return err
	})
	fleettest.Open(t, envoys[0], rig.HTTP2, 0, client)
	e.WantStreams(t, 1)
}

// The request that waits for etcd is not held for longer than fleet.timeout; the next one not at
// all.
func TestRefusedWhileAway(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 1, fleettest.Options{Rule: `"on_unavailable": "refuse"`, Ports: e.Ports(t)})
	e.Stop(t)
	c := rigtest.Dial(t, envoys[0], rig.HTTP2, 0)
	for range 3 {
		r := rigtest.Do(t, c, rigtest.Get("events", rigtest.NewClient()))
		if got := r.Header.Get(reply.Marker); got != "unavailable" {
			t.Errorf("status %d, refused for %q, want unavailable", r.Status, got)
		}
	}
	e.GoOn(t)
	time.Sleep(2 * time.Second)
	fleettest.Open(t, envoys[0], rig.HTTP2, 0, rigtest.NewClient())
	e.WantStreams(t, 1)
}

// At the request: the backend does not see the newcomer before its place is taken. With a limit
// of two, the third stream ends the first, wherever they are.
func TestClaimAtRequest(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{
		Rule: `"claim_at": "request", "max_streams": 2, "goodbye_grace": "5s"`, Ports: e.Ports(t),
	})
	client := rigtest.NewClient()
	first := fleettest.Open(t, envoys[0], rig.HTTP2, 0, client)
	second := fleettest.Open(t, envoys[1], rig.HTTP2, 0, client)
	third := fleettest.Open(t, envoys[1], rig.HTTP1, 1, client)
	rigtest.WantEnd(t, first, rig.Reset) // the backend sends nothing that a goodbye could follow
	rigtest.WantLive(t, envoys[0], client, second, third)
	e.WantStreams(t, 2)
}

// An operator ends a client's streams at all Envoys, whichever is asked.
func TestDismiss(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Rule: `"max_streams": 3`, Ports: e.Ports(t)})
	client := rigtest.NewClient()
	streams := []*rig.Stream{
		fleettest.Open(t, envoys[0], rig.HTTP2, 0, client),
		fleettest.Open(t, envoys[1], rig.HTTP2, 0, client),
		fleettest.Open(t, envoys[1], rig.HTTP1, 1, client),
	}
	other := fleettest.Open(t, envoys[1], rig.HTTP2, 1, rigtest.NewClient())
	e.WantStreams(t, 4)
	c := rigtest.Operator(t, envoys[0], rig.HTTP2)
	rigtest.WantDelete(t, c, "/streamlatch/streams/events/"+client, 200, "{\"streams\":3}\n")
	for _, s := range streams {
		rigtest.WantEnd(t, s, rig.Reset)
	}
	e.WantStreams(t, 1)
	rigtest.WantDelete(t, c, "/streamlatch/streams/events/"+client, 404, "")
	e.Stop(t)
	rigtest.WantDelete(t, c, "/streamlatch/streams/events/"+client, 503, "")
	e.GoOn(t)
	if !other.Live() {
		t.Error("the stream of another client has ended")
	}
}
