// Package envoy gets, configures and runs the real Envoy, for the quick start and for the end-to-end tests.
//
//   - [Config] is the shipped envoy.yaml; [Render] puts other ports, another path to the filter or another filter
//     configuration into it, and nothing else, so that what the tests run is what users copy.
//   - [Find] returns the path of an Envoy: the one the user names, the one on PATH, or a pinned one that it fetches.
//   - [Start] runs one and returns when it serves. An Envoy started here never outlives the program that started it,
//     and is always waited for.
//   - [Admin] reads what Envoy tells about itself: statistics, and the ports it was given where 0 was asked for.
//
// Nothing here needs the filter or the test host, and nothing but the standard library.
package envoy

import _ "embed"

// Config is envoy.yaml, as shipped.
//
//go:embed envoy.yaml
var Config string
