package identity_test

import (
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/identity"
)

// Each wrong set-up that leaves a source without a value has a hint of its own.
func TestWhyMissing(t *testing.T) {
	const behind, unnamed, unclaimed = "it must stand before this filter and have payload_in_metadata: payload",
		"it must have payload_in_metadata: payload", "the token has no such claim"
	other := request{property("metadata"): string(mapEntry("envoy.filters.http.ext_authz", object{"payload": object{"sub": "mallory"}}))}
	renamed := request{property("metadata"): string(mapEntry("envoy.filters.http.jwt_authn", object{"claims": object{"sub": "mallory"}}))}
	for _, c := range []struct {
		about  string
		source identity.Source
		req    request
		want   string
	}{
		{"no metadata", claim("sub"), request{}, behind},
		{"metadata of other filters", claim("sub"), other, behind},
		{"malformed metadata", claim("sub"), request{property("metadata"): "\xff"}, behind},
		{"another payload_in_metadata", claim("sub"), renamed, unnamed},
		{"no such claim", claim("sub"), request{property("metadata"): verified(object{"iss": "x"})}, unclaimed},
		{"a claim that names nobody", claim("sub"), request{property("metadata"): verified(object{"sub": list{"mallory"}})}, unclaimed},
		{"header", identity.Source{Kind: identity.Header, Name: "x-user"}, request{}, "must stand before this filter"},
		{"property", identity.Source{Kind: identity.Property, Path: []string{"x"}}, request{}, "no such attribute"},
		{"source_address", identity.Source{Kind: identity.SourceAddress}, request{property("source", "address"): "/mallory.sock"}, "no IP address"},
		{"cookie", identity.Source{Kind: identity.Cookie, Name: "sid"}, request{"cookie": "mallory=1"}, ""},
		{"query", identity.Source{Kind: identity.Query, Name: "tab"}, request{":path": "/?mallory"}, ""},
	} {
		sources := identity.Sources{{Kind: identity.Header, Name: "x-there"}, c.source}
		c.req["x-there"] = "mallory"
		_, missing := sources.Append(nil, c.req)
		if missing != 1 {
			t.Fatalf("%s: missing %d, want 1", c.about, missing)
		}
		got := sources.WhyMissing(missing, c.req)
		if !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: got %q, want %q in it", c.about, got, c.want)
		}
		if strings.Contains(got, "mallory") {
			t.Errorf("%s: %q has a value of the client", c.about, got)
		}
		for _, other := range []string{behind, unnamed, unclaimed} {
			if other != c.want && strings.Contains(got, other) {
				t.Errorf("%s: got %q, want only %q", c.about, got, c.want)
			}
		}
	}
}
