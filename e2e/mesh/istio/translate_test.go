// Package istio checks that a file in testdata, which the other tests run in Envoy, is what Istio's
// own translator makes from istio.yaml. It is a separate module, and not part of `make test`,
// because Istio takes minutes to compile.
//
//	go test -update   # writes ../testdata/istio.json: after a change of file or version
package istio

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	wasm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/core/extension"
	"istio.io/istio/pilot/test/xds"
)

var update = flag.Bool("update", false, "write testdata")

const (
	source = "../../../envoy/istio.yaml"
	golden = "../testdata/istio.json"

	// application is the service that the file routes to.
	application = `
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: app, namespace: default}
spec:
  hosts: [app.default.svc.cluster.local]
  ports: [{number: 8080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
`
)

// Istio validates the file as its webhook does, and translates it for a gateway.
func TestTranslation(t *testing.T) {
	file, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{ConfigString: string(file) + application})
	labels := map[string]string{"istio": "ingressgateway"}
	gateway := server.SetupProxy(&model.Proxy{
		Type:            model.Router,
		ConfigNamespace: "istio-system",
		Labels:          labels,
		Metadata:        &model.NodeMetadata{Namespace: "istio-system", Labels: labels},
	})
	digest := sha256.Sum256(file)
	out := map[string]any{"source_sha256": hex.EncodeToString(digest[:])}
	var listeners, routes, extensions []json.RawMessage
	for _, l := range server.Listeners(gateway) {
		listeners = append(listeners, marshal(t, l))
	}
	for _, r := range server.Routes(gateway) {
		routes = append(routes, marshal(t, r))
	}
	for _, phase := range server.PushContext().TrafficExtensions(gateway) {
		for _, e := range phase {
			for _, c := range extension.InsertedTrafficExtensionConfigurations([]*model.TrafficExtensionWrapper{e}, []string{e.ResourceName}, nil) {
				var filter wasm.Wasm
				if err := c.TypedConfig.UnmarshalTo(&filter); err != nil {
					t.Fatal(err)
				}
				// The agent removes these before Envoy gets them. The version is a time.
				filter.Config.GetVmConfig().EnvironmentVariables = nil
				if err := c.TypedConfig.MarshalFrom(&filter); err != nil {
					t.Fatal(err)
				}
				extensions = append(extensions, marshal(t, c))
			}
		}
	}
	out["listeners"], out["routes"], out["extensions"] = listeners, routes, extensions
	got, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what Istio makes from %s: run go test -update", golden, source)
	}
}

func marshal(t *testing.T, m proto.Message) json.RawMessage {
	t.Helper()
	j, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
