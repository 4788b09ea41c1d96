package clients

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

const addressRules = `{"rules": [
	{"name": "address", "match": {"path": {"prefix": "/address/"}}, "client": [{"source_address": true}], "takeover_limit": false},
	{"name": "agent",   "match": {"path": {"prefix": "/agent/"}},   "client": [{"source_address": true}, {"header": "x-agent"}], "takeover_limit": false}
]}`

// Behind one trusted proxy the client's address is the last one in x-forwarded-for, which this
// proxy has written. The client can forge the addresses before it.
func TestSourceAddressBehindProxy(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Filter: addressRules, LogLevel: "wasm:debug", Edits: []rig.Edit{
		hcm("xff_num_trusted_hops: 1"),
	}})
	from := func(rule, forwarded string) rig.Request {
		return rig.Request{Path: "/" + rule + "/", Header: map[string]string{"x-forwarded-for": forwarded}}
	}
	agent := func(name string, q rig.Request) rig.Request {
		q.Header["x-agent"] = name
		return q
	}
	for _, source := range []struct {
		about, rule string
		first       rig.Request
		newcomers   []newcomer
	}{
		{"IPv4", "address", from("address", "203.0.113.7"), []newcomer{
			{"the same address", from("address", "203.0.113.7"), true},
			{"with a forged entry", from("address", "198.51.100.1, 203.0.113.7"), true},
			{"with forged entries", from("address", "rubbish, 198.51.100.1,203.0.113.7"), true},
			{"the same address mapped to IPv6", from("address", "::ffff:203.0.113.7"), true},
			{"another address", from("address", "203.0.113.70"), false},
			{"another address that forges this one", from("address", "203.0.113.7, 203.0.113.8"), false},
			{"an address of IPv6", from("address", "2001:db8::203.0.113.7"), false},
		}},
		{"IPv6", "address", from("address", "2001:db8::1"), []newcomer{
			{"the same address", from("address", "2001:db8::1"), true},
			{"the same address, spelled differently", from("address", "2001:0DB8:0:0:0:0:0:1"), true},
			{"with a forged entry", from("address", "2001:db8::2, 2001:db8::1"), true},
			{"another address", from("address", "2001:db8::11"), false},
			{"another address that forges this one", from("address", "2001:db8::1, 2001:db8::2"), false},
		}},
		{"with a header", "agent", agent("x", from("agent", "203.0.113.7")), []newcomer{
			{"the same", agent("x", from("agent", "203.0.113.7")), true},
			{"another agent", agent("y", from("agent", "203.0.113.7")), false},
			{"another address", agent("x", from("agent", "203.0.113.8")), false},
		}},
	} {
		t.Run(source.about, func(t *testing.T) {
			rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
				wantNewcomers(t, r, p, source.rule, source.first, source.newcomers)
			})
		})
	}
}

// The key of a client that connects directly to Envoy is its address without the port. Its headers
// change nothing.
func TestSourceAddressOfPeer(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Filter: addressRules, LogLevel: "wasm:debug"})
	from := func(header, value string) rig.Request {
		return rig.Request{Path: "/address/", Header: map[string]string{header: value}}
	}
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		wantNewcomers(t, r, p, "address", rig.Request{Path: "/address/"}, []newcomer{
			{"the same peer", rig.Request{Path: "/address/"}, true},
			{"a forged x-forwarded-for", from("x-forwarded-for", "203.0.113.7"), true},
			{"a forged x-envoy-external-address", from("x-envoy-external-address", "203.0.113.7"), true},
			{"a forged forwarded", from("forwarded", "for=203.0.113.7"), true},
		})
	})
}

// hcm adds a field to the listener's HTTP connection manager.
func hcm(field string) rig.Edit {
	const place = "          stat_prefix: edge\n"
	return rig.Replace(place, place+"          "+field+"\n")
}
