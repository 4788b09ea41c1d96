// Package istio checks that two files in testdata, which the other tests run in Envoy, are what
// Istio's own translator makes from istio.yaml, without fleet/istio.yaml and with it. It is a
// separate module, and not part of `make test`, because Istio takes minutes to compile.
//
//	go test -update   # writes ../testdata/istio*.json: after a change of file or version
package istio

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strings"
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
	fleet  = "../../../envoy/fleet/istio.yaml"
	golden = "../testdata/istio.json"
	// of both files together
	fleetGolden = "../testdata/istio-fleet.json"

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

func TestTranslation(t *testing.T) {
	file := read(t, source)
	check(t, golden, translate(t, string(file)), file)
}

// The fleet's WasmPlugin replaces the first document of the other file.
func TestFleetTranslation(t *testing.T) {
	file, added := read(t, source), read(t, fleet)
	_, others, _ := strings.Cut(string(file), "\n---\n")
	check(t, fleetGolden, translate(t, string(added)+"\n---\n"+others), append(file, added...))
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// translate has Istio validate the resources as its webhook does, and translate them for a gateway.
func translate(t *testing.T, resources string) map[string]any {
	t.Helper()
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{ConfigString: resources + application})
	labels := map[string]string{"istio": "ingressgateway"}
	gateway := server.SetupProxy(&model.Proxy{
		Type:            model.Router,
		ConfigNamespace: "istio-system",
		Labels:          labels,
		Metadata:        &model.NodeMetadata{Namespace: "istio-system", Labels: labels},
	})
	out := map[string]any{}
	var listeners, routes, extensions, clusters []json.RawMessage
	for _, l := range server.Listeners(gateway) {
		listeners = append(listeners, marshal(t, l))
	}
	for _, r := range server.Routes(gateway) {
		routes = append(routes, marshal(t, r))
	}
	for _, c := range server.Clusters(gateway) {
		if c.Name == "etcd" {
			clusters = append(clusters, marshal(t, c))
		}
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
	if clusters != nil {
		out["clusters"] = clusters
	}
	return out
}

// check compares the translation of the sources with the golden file, or writes that file.
func check(t *testing.T, golden string, out map[string]any, sources []byte) {
	t.Helper()
	digest := sha256.Sum256(sources)
	out["source_sha256"] = hex.EncodeToString(digest[:])
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
	if !bytes.Equal(got, read(t, golden)) {
		t.Errorf("%s is not what Istio makes from the shipped files: run go test -update", golden)
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
