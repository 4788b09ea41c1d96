module github.com/streamlatch/streamlatch/e2e/mesh

go 1.26.7

replace github.com/streamlatch/streamlatch => ../..

require (
	github.com/envoyproxy/gateway v1.9.1
	github.com/streamlatch/streamlatch v0.0.0
	istio.io/api v1.31.4
	sigs.k8s.io/gateway-api v1.7.0
	sigs.k8s.io/yaml v1.6.0
)
