package config

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

const (
	maxClusters = 16
	maxPrefix   = 64

	minLease = 5 * policy.Second
	maxLease = policy.Minute

	minTimeout policy.Millis = 10
	maxTimeout               = 5 * policy.Second
)

// defaultFleet returns a fleet with the defaults of all fields that are not required.
func defaultFleet() Fleet {
	return Fleet{Prefix: "streamlatch", LeaseTTL: 10 * policy.Second, Timeout: 250}
}

func fleetFields() []field[Fleet] {
	defaults := defaultFleet()
	return []field[Fleet]{
		{"clusters", required, fmt.Sprintf("1 to %d names", maxClusters), "clusters of Envoy that reach etcd 3.4 or newer, the same at all Envoys. Clients are spread over several clusters, each an etcd of its own",
			readClusters},
		{"secret", required, wantSecret, "the same at all Envoys, and known to nobody else. Ids of clients in etcd are hashed with it. Log and status do not show it",
			readSecret},
		{"prefix", optional, defaults.Prefix, "what all keys in etcd begin with, the same at all Envoys; " + wantPrefix,
			func(v value, f *Fleet) { f.Prefix, _ = v.text(wantPrefix, isPrefix) }},
		{"lease_ttl", optional, formatDuration(defaults.LeaseTTL), "how long the streams of a worker that has crashed keep their places, in whole seconds; " + span(minLease, maxLease),
			func(v value, f *Fleet) {
				var ok bool
				if f.LeaseTTL, ok = v.duration(minLease, maxLease); ok && f.LeaseTTL%policy.Second != 0 {
					v.fault("found %v, want a whole number of seconds", v.node)
				}
			}},
		{"timeout", optional, formatDuration(defaults.Timeout), "how long a newcomer waits for etcd, in all; " + span(minTimeout, maxTimeout),
			func(v value, f *Fleet) { f.Timeout, _ = v.duration(minTimeout, maxTimeout) }},
	}
}

func readClusters(v value, f *Fleet) {
	for _, item := range v.list(1, maxClusters) {
		name, ok := item.text("the name of a cluster of Envoy", notEmpty)
		if i := slices.Index(f.Clusters, name); i >= 0 && ok {
			item.fault("%v is already %s[%d], want each once", quoted(name), v.path, i)
		}
		f.Clusters = append(f.Clusters, name)
	}
}

// readSecret reads the secret. Faults are written to the log, so none repeats what it found.
func readSecret(v value, f *Fleet) {
	switch {
	case v.kind == number:
		v.fault("found a number, want %s", wantSecret)
	case v.kind != text:
		v.fault("found %v, want %s", v.node, wantSecret)
	case len(v.content) != 2*len(f.Secret):
		v.fault("found a string of %d bytes, want %s", len(v.content), wantSecret)
	default:
		if _, err := hex.Decode(f.Secret[:], []byte(v.content)); err != nil {
			v.fault("found other characters, want %s", wantSecret)
		}
	}
}

// hasFleet reports whether root has a fleet. It may be invalid: then it has faults of its own, and
// the rules need no others.
func hasFleet(root node) bool {
	return slices.ContainsFunc(root.members, func(m member) bool { return m.key == "fleet" })
}

// readScope reads the scope of a rule.
func readScope(v value, r *Rule, fleet bool) {
	if r.Scope, _ = enum(v, FleetScope, EnvoyScope); r.Scope == FleetScope && !fleet {
		v.fault(`found %v, want "envoy": the configuration has no "fleet"`, v.node)
	}
}

// checkUnavailable reports a rule that would refuse clients without etcd, and never asks etcd.
// Whoever wrote that wants a limit over several Envoys, and would get one in each.
func checkUnavailable(v value, r *Rule) {
	if r.Scope == EnvoyScope && r.OnUnavailable == RefuseUnavailable {
		v.member("on_unavailable", node{}).fault(`found %q, want "allow": the rule has scope "envoy", so it does not ask etcd`, r.OnUnavailable)
	}
}
