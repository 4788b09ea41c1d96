// Package envoy holds what is shipped for Envoy: configurations for each way to load the filter, and what operators look
// at. [Config] is the shipped envoy.yaml; [Render] puts other ports, another path to the filter or another filter
// configuration into it, and nothing else, so that what the tests run is what users copy.
package envoy

import _ "embed"

// Config is envoy.yaml, as shipped.
//
//go:embed envoy.yaml
var Config string

// Containerfile is the recipe of the plugin's image, as shipped.
//
//go:embed Containerfile
var Containerfile string
