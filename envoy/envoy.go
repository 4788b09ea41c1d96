// Package envoy embeds the files that are shipped for Envoy, and fills in the ports and paths of a
// particular run.
//
// [Config] is envoy.yaml as users copy it. [Render] replaces its ports, the path of the filter and
// the filter's configuration, and nothing else: the tests run what users run. [RenderECDS] does the
// same for the two files of a filter whose configuration is replaced while Envoy runs.
package envoy

import _ "embed"

// Config is the shipped envoy.yaml.
//
//go:embed envoy.yaml
var Config string

// ECDSConfig is the shipped envoy-ecds.yaml: [Config] with the filter in a file of its own, which
// Envoy reads again whenever it is replaced.
//
//go:embed envoy-ecds.yaml
var ECDSConfig string

// ECDSFilter is the shipped ecds/streamlatch.yaml, the file that [ECDSConfig] names.
//
//go:embed ecds/streamlatch.yaml
var ECDSFilter string

// FrontConfig is the shipped fleet/front.yaml: an Envoy without the filter that sends each client
// to one of several Envoys with it.
//
//go:embed fleet/front.yaml
var FrontConfig string

// FleetConfig is the shipped fleet/envoy.yaml: [Config] for one of several Envoys that keep their
// promise together, with the cluster of their etcd.
//
//go:embed fleet/envoy.yaml
var FleetConfig string
