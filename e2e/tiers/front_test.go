// Package tiers tests several Envoys with the filter behind a front tier of Envoys without it.
package tiers

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy"
)

// latches starts n Envoys with the filter, in front of one backend: that of the first.
func latches(t *testing.T, n int) []*rig.Rig {
	t.Helper()
	all := []*rig.Rig{rigtest.Start(t, rig.Options{Concurrency: 2})}
	for len(all) < n {
		all = append(all, rigtest.Start(t, rig.Options{Concurrency: 2, Handler: all[0].Backend}))
	}
	return all
}

// front starts the shipped front tier before some Envoys.
func front(t *testing.T, behind []*rig.Rig, edits ...rig.Edit) *rig.Rig {
	t.Helper()
	hosts := ""
	for _, r := range behind {
		host, port, err := net.SplitHostPort(r.Address())
		if err != nil {
			t.Fatal(err)
		}
		hosts += fmt.Sprintf("        - endpoint: {address: {socket_address: {address: %s, port_value: %s}}}\n", host, port)
	}
	edits = append([]rig.Edit{
		rig.Replace("port_value: 9901}", "port_value: 0}"),
		rig.Replace("address: 127.0.0.1, port_value: 10000}", "address: 127.0.0.1, port_value: 0}"),
		rig.Remove("        - endpoint: {address: {socket_address: {address: 10.0.0.1,", "\noverload_manager:"),
		rig.Replace("\noverload_manager:", hosts+"\noverload_manager:"),
	}, edits...)
	return rigtest.Start(t, rig.Options{Concurrency: 2, Edits: edits,
		Base: func(envoy.Settings) (string, error) { return envoy.FrontConfig, nil }})
}

// request is a client's request for its stream, under the shipped rule and hash policy.
func request(client string) rig.Request {
	return rig.Request{Client: client, Path: "/events?client=" + client}
}

// open opens a stream through a worker of a front tier.
func open(t *testing.T, r *rig.Rig, p rig.Protocol, worker int, client string) *rig.Stream {
	t.Helper()
	return rigtest.Open(t, rigtest.Dial(t, r, p, worker), request(client))
}

// perHost returns how many streams each Envoy has.
func perHost(t *testing.T, behind []*rig.Rig) (active []uint64) {
	t.Helper()
	for _, r := range behind {
		active = append(active, rigtest.Metrics(t, r)["events.active"])
	}
	return active
}

// Two front tiers that know nothing of each other: a client's streams meet, whichever front, worker
// and protocol they come by, and the clients are spread over the Envoys.
func TestStreamsMeet(t *testing.T) {
	t.Parallel()
	behind := latches(t, 3)
	fronts := []*rig.Rig{front(t, behind), front(t, behind)}
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		var newest []*rig.Stream
		for _, client := range rigtest.NewClients(24) {
			old := open(t, fronts[0], p, 0, client)
			again := open(t, fronts[1], p, 1, client)
			rigtest.WantEnd(t, old, rig.Reset)
			rigtest.WantLive(t, behind[0], client, again)
			newest = append(newest, again)
		}
		active := perHost(t, behind)
		if slices.Contains(active, 0) {
			t.Errorf("24 clients are spread %v over three Envoys, want some at each", active)
		}
		for _, s := range newest {
			s.Close()
		}
		wait.Until(t, func() error {
			if active := perHost(t, behind); slices.Max(active) > 0 {
				return fmt.Errorf("streams of the Envoys after all have left: %v, want none", active)
			}
			return nil
		})
	})
}

// An Envoy dies. Its clients come back to others, and those of the others are not touched.
func TestAnEnvoyDies(t *testing.T) {
	t.Parallel()
	behind := latches(t, 3)
	f := front(t, behind)
	clients := rigtest.NewClients(24)
	streams := map[string]*rig.Stream{}
	for _, client := range clients {
		streams[client] = open(t, f, rig.HTTP2, 0, client)
	}
	dying := perHost(t, behind)[2]
	if err := behind[2].Stop(); err != nil {
		t.Fatal(err)
	}
	var lost []string
	wait.Until(t, func() error {
		lost = slices.DeleteFunc(slices.Clone(clients), func(client string) bool { return streams[client].Live() })
		if uint64(len(lost)) != dying {
			return fmt.Errorf("%d clients have lost their stream, want the %d of the Envoy that died", len(lost), dying)
		}
		return nil
	})
	for _, client := range lost {
		again := reopen(t, f, client)
		newest := open(t, f, rig.HTTP1, 1, client)
		rigtest.WantEnd(t, again, rig.Reset)
		rigtest.WantLive(t, behind[0], client, newest)
	}
	for _, client := range clients {
		if !slices.Contains(lost, client) {
			rigtest.WantLive(t, behind[0], client, streams[client])
		}
	}
}

// reopen opens a client's stream as clients do: again and again, until the front tier has noticed
// that a host is gone.
func reopen(t *testing.T, f *rig.Rig, client string) (s *rig.Stream) {
	t.Helper()
	c := rigtest.Dial(t, f, rig.HTTP2, 0)
	wait.Until(t, func() (err error) {
		s, err = c.Open(t.Context(), request(client))
		return err
	})
	t.Cleanup(s.Close)
	return s
}

// What a front tier does not promise: when an Envoy is added, some clients go to it and have two
// streams, until the old one ends. The others stay where they are.
func TestAnEnvoyIsAdded(t *testing.T) {
	t.Parallel()
	behind := latches(t, 3)
	before, after := front(t, behind[:2]), front(t, behind)
	clients := rigtest.NewClients(24)
	for _, client := range clients {
		open(t, before, rig.HTTP2, 0, client)
		open(t, after, rig.HTTP2, 0, client)
	}
	const n = 24
	wait.Until(t, func() error {
		active := perHost(t, behind)
		moved := active[0] + active[1] + active[2] - n
		if active[2] == 0 || moved < active[2] || moved == n {
			return fmt.Errorf("the Envoys have %v streams of %d clients, want two of each client that has moved, and one of each other", active, n)
		}
		return nil
	})
}

// The test sees what it should: without the hash policy, streams do not meet.
func TestWithoutHashPolicy(t *testing.T) {
	t.Parallel()
	behind := latches(t, 2)
	f := front(t, behind, rig.Remove("                  hash_policy:\n", "                  # No retry_policy"))
	clients := rigtest.NewClients(24)
	for _, client := range clients {
		open(t, f, rig.HTTP2, 0, client)
		open(t, f, rig.HTTP2, 1, client)
	}
	wait.Until(t, func() error {
		active := perHost(t, behind)
		if active[0]+active[1] <= uint64(len(clients)) {
			return fmt.Errorf("the Envoys have %v streams of %d clients, want some with two", active, len(clients))
		}
		return nil
	})
}
