module github.com/streamlatch/streamlatch

go 1.26.0

// The filter. Each of these costs size and start-up in every worker.
require (
	github.com/dchest/siphash v1.2.3
	github.com/go-json-experiment/json v1.27.2
	github.com/proxy-wasm/proxy-wasm-go-sdk v0.0.0-20260105142703-44c7d5847745
	google.golang.org/protobuf v1.36.12
)

// The test host.
require github.com/tetratelabs/wazero v1.12.0

// Its command proxywasm.
require go.yaml.in/yaml/v3 v3.0.5

// Tests and benchmarks.
require (
	github.com/cockroachdb/datadriven v1.0.3
	golang.org/x/sync v0.25.0
	pgregory.net/rapid v1.3.0
)

require (
	github.com/pmezard/go-difflib v1.0.0 // indirect
	golang.org/x/sys v0.44.0 // indirect
)
