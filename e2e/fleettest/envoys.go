// Package fleettest is what the tests of a fleet share: a real etcd, real Envoys that keep one
// promise over it, and what may stand between them.
package fleettest

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// Secret is the fleet's.
const Secret = "000102030405060708090a0b0c0d0e0f"

// Options say how Envoys differ from those of envoy/fleet/envoy.yaml.
type Options struct {
	Rule     string         // more fields of the rule events
	LeaseTTL string         // "": 5s
	Ports    []int          // of etcd on this machine
	Backend  *rig.Rig       // whose backend is theirs; nil: the first one's
	Launcher proxy.Launcher // starts them; nil: the rig's
	Edits    []rig.Edit
}

// Envoys starts n Envoys of a fleet with two workers each, in front of one backend.
func Envoys(t *testing.T, n int, o Options) []*rig.Rig {
	t.Helper()
	var all []*rig.Rig
	for range n {
		r := start(t, o)
		if o.Backend == nil {
			o.Backend = r
		}
		all = append(all, r)
	}
	return all
}

func start(t *testing.T, o Options) *rig.Rig {
	t.Helper()
	more := o.Rule
	if more != "" {
		more = ", " + more
	}
	// The time-out is for a busy machine: after it, an Envoy decides alone.
	fleet := `"fleet": {"clusters": ["etcd"], "secret": "` + Secret + `", "lease_ttl": "` + cmp.Or(o.LeaseTTL, "5s") + `", "timeout": "2s"}`
	options := rig.Options{
		Concurrency: 2,
		Filter:      fmt.Sprintf(`{"rules": [%s], %s}`, rigtest.OneRule("events", more), fleet),
		Base: func(s envoy.Settings) (string, error) {
			s.Etcd = o.Ports[0]
			return envoy.RenderFleet(s)
		},
		Edits: append([]rig.Edit{
			rig.AnyPath,
			rig.Replace(`"secret": "00000000000000000000000000000000"}}'`, `"secret": "`+Secret+`"}}'`),
			endpoints(o.Ports),
		}, o.Edits...),
		Launcher: o.Launcher,
	}
	if o.Backend != nil {
		options.Handler = o.Backend.Backend
	}
	r, err := rig.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		rigtest.Explain(t, r)
		_ = r.Stop() // an error, if the test has killed it
	})
	return r
}

// endpoints gives the cluster etcd one endpoint for each port.
func endpoints(ports []int) rig.Edit {
	endpoint := func(port int) string {
		return fmt.Sprintf(`        - endpoint:
            address:
              socket_address: {address: 127.0.0.1, port_value: %d}
`, port)
	}
	var all strings.Builder
	for _, port := range ports {
		all.WriteString(endpoint(port))
	}
	return rig.Replace(endpoint(ports[0]), all.String())
}

// Open opens a client's stream at a worker of an Envoy.
func Open(t *testing.T, r *rig.Rig, p rig.Protocol, worker int, client string) *rig.Stream {
	t.Helper()
	return rigtest.Open(t, rigtest.Dial(t, r, p, worker), rigtest.Get("events", client))
}
