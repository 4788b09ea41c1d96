package host

import "time"

// Profile says which Envoy a host copies.
type Profile struct {
	Version  string    // of Envoy
	Measured time.Time // when it was last compared

	// Differences are what releases from 1.36 on are known to do in another way.
	Differences []Difference
}

// Difference is something that Envoy does only from a release on.
type Difference struct{ Since, What string }

// Envoy is the profile of this package. ENVOY.md, Older Envoys, says what was played in which
// release.
var Envoy = Profile{
	Version: "1.40.0", Measured: time.Date(2026, time.November, 30, 0, 0, 0, 0, time.UTC),
	Differences: []Difference{
		{Since: "1.37", What: "the attributes request.headers_bytes and response.headers_bytes; before, they are NotFound"},
		{Since: "1.37", What: "the foreign function sign, keys in PEM of verify_signature, envoy.network.network_namespace"},
		{Since: "1.38", What: "the filter state of envoy.hashable_string and envoy.network.upstream_subject_alt_names"},
		{Since: "1.38", What: "get_status of a gRPC connection that is refused ends without the transport's reason"},
	},
}
