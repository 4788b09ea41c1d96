package identity_test

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamlatch/streamlatch/filter/identity"
)

var sourceAddress = identity.Source{Kind: identity.SourceAddress}

func TestSourceAddress(t *testing.T) {
	for _, test := range []struct{ about, address, want string }{
		{"IPv4", "10.0.0.1:54321", "10.0.0.1"},
		{"IPv4 from x-forwarded-for", "10.0.0.1:0", "10.0.0.1"},
		{"IPv6", "[2001:db8::1]:443", "2001:db8::1"},
		{"loopback", "[::1]:443", "::1"},
		{"unspecified", "[::]:0", "::"},
		{"IPv4-mapped", "[::ffff:10.0.0.1]:443", "10.0.0.1"},
		{"IPv4-compatible", "[::10.0.0.1]:443", "::10.0.0.1"},
		{"embedded IPv4", "[64:ff9b::10.0.0.1]:443", "64:ff9b::10.0.0.1"},
		{"zone", "[fe80::1%2]:443", "fe80::1%2"},
		{"Unix socket", "/run/client.sock", missing},
		{"Unix socket with a colon", "/run/10.0.0.1:443", missing},
		{"abstract socket", "@client", missing},
		{"abstract socket with a colon", "@10.0.0.1:1", missing},
		{"nameless socket", "", missing},
		{"internal listener", "envoy://internal/id", missing},
		{"internal listener with a colon", "envoy://internal/[::1]:1", missing},
		{"host name", "client.example:443", missing},
		{"no port", "10.0.0.1", missing},
		{"no port, IPv6", "[2001:db8::1]", missing},
		{"no brackets", "2001:db8::1:443", missing},
		{"opening bracket only", "[2001:db8::1:443", missing},
		{"closing bracket only", "2001:db8::1]:443", missing},
		{"IPv4 in brackets", "[10.0.0.1]:443", missing},
		{"IPv4-mapped host name", "[::ffff:a.b.c.d.x]:443", missing},
		{"numbers that are no address", "10.1:443", missing},
		{"only a port", ":443", missing},
		{"empty brackets", "[]:443", missing},
		{"bytes", "\x00\xff:443", missing},
		{"NUL", "10.0.0.1\x00:443", missing},
		{"invalid UTF-8", "[2001:db8::\xff]:443", missing},
		{"huge", strings.Repeat("[", 1<<17) + ":443", missing},
	} {
		t.Run(test.about, func(t *testing.T) {
			testSource(t, sourceAddress, request{property("source", "address"): test.address}, test.want)
		})
	}
	t.Run("no property", func(t *testing.T) { testSource(t, sourceAddress, request{}, missing) })
}

// net/netip is the reference for all IP addresses.
func TestSourceAddressAgreesWithNetip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var ip netip.Addr
		switch rapid.IntRange(0, 3).Draw(rt, "kind") {
		case 0:
			ip = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(rt, "ip")))
		case 1:
			ip = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "ip")))
		case 2: // many zeros
			ip = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 0, 1}), 16, 16).Draw(rt, "ip")))
		case 3:
			ip = netip.AddrFrom16(netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(rt, "ip"))).As16())
		}
		at := netip.AddrPortFrom(ip, rapid.Uint16().Draw(rt, "port"))
		got, _ := readSource(t, sourceAddress, request{property("source", "address"): at.String()})
		if want := ip.Unmap().String(); got != want {
			rt.Fatalf("%v: got %q, want %q", at, got, want)
		}
	})
}
