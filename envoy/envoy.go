// Package envoy holds what is shipped for Envoy: configurations for each way to load the filter, and what operators look
// at. [Config] is the shipped envoy.yaml; [Render] puts other ports, another path to the filter or another filter
// configuration into it, and nothing else, so that what the tests run is what users copy. [RenderECDS] does so with the
// files of the filter that is updated live.
package envoy

import _ "embed"

// Config is envoy.yaml, as shipped.
//
//go:embed envoy.yaml
var Config string

// ECDSConfig is envoy-ecds.yaml, as shipped: [Config] with the filter in a file that Envoy follows.
//
//go:embed envoy-ecds.yaml
var ECDSConfig string

// ECDSFilter is that file, ecds/streamlatch.yaml, as shipped.
//
//go:embed ecds/streamlatch.yaml
var ECDSFilter string
