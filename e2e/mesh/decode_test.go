package mesh

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/streamlatch/streamlatch/envoy"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	extensions "istio.io/api/extensions/v1alpha1"
	networkingv1 "istio.io/api/networking/v1"
	networking "istio.io/api/networking/v1alpha3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// specs are the types of the documents in the shipped files, by kind: a message of Istio for its
// spec, or a whole resource.
var specs = map[string]func() any{
	"extensions.istio.io/v1alpha1 WasmPlugin":             func() any { return new(extensions.WasmPlugin) },
	"networking.istio.io/v1alpha3 EnvoyFilter":            func() any { return new(networking.EnvoyFilter) },
	"networking.istio.io/v1 VirtualService":               func() any { return new(networkingv1.VirtualService) },
	"networking.istio.io/v1 Gateway":                      func() any { return new(networkingv1.Gateway) },
	"networking.istio.io/v1 DestinationRule":              func() any { return new(networkingv1.DestinationRule) },
	"gateway.networking.k8s.io/v1 GatewayClass":           func() any { return new(gwapiv1.GatewayClass) },
	"gateway.networking.k8s.io/v1 Gateway":                func() any { return new(gwapiv1.Gateway) },
	"gateway.networking.k8s.io/v1 HTTPRoute":              func() any { return new(gwapiv1.HTTPRoute) },
	"gateway.envoyproxy.io/v1alpha1 EnvoyProxy":           func() any { return new(egv1a1.EnvoyProxy) },
	"gateway.envoyproxy.io/v1alpha1 EnvoyExtensionPolicy": func() any { return new(egv1a1.EnvoyExtensionPolicy) },
	"gateway.envoyproxy.io/v1alpha1 BackendTrafficPolicy": func() any { return new(egv1a1.BackendTrafficPolicy) },
	"gateway.envoyproxy.io/v1alpha1 EnvoyPatchPolicy":     func() any { return new(egv1a1.EnvoyPatchPolicy) },
	"v1 ConfigMap": func() any { return new(configMap) },
}

type configMap struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Data       map[string]string `json:"data"`
}

// No document has a field that its published type lacks.
func TestDocumentsAreStrict(t *testing.T) {
	for file, want := range map[string]int{"istio.yaml": 6, "envoy-gateway.yaml": 8, "fleet/istio.yaml": 2, "fleet/envoy-gateway.yaml": 3} {
		documents := bytes.Split(read(t, "envoy/"+file), []byte("\n---\n"))
		if len(documents) != want {
			t.Errorf("%s: got %d documents, want %d", file, len(documents), want)
		}
		for _, document := range documents {
			var head struct {
				APIVersion string          `json:"apiVersion"`
				Kind       string          `json:"kind"`
				Spec       json.RawMessage `json:"spec"`
			}
			if err := yaml.Unmarshal(document, &head); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			kind := head.APIVersion + " " + head.Kind
			make, ok := specs[kind]
			if !ok {
				t.Errorf("%s: unknown kind %s, want one in specs", file, kind)
				continue
			}
			into := make()
			var err error
			if message, ok := into.(proto.Message); ok {
				err = protojson.Unmarshal(head.Spec, message)
			} else {
				err = yaml.UnmarshalStrict(document, into)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", file, kind, err)
			}
		}
	}
}

// The translations in testdata were made from the present files.
func TestTranslationsAreOfTheShippedFiles(t *testing.T) {
	for _, name := range []string{"istio", "envoy-gateway"} {
		file, fleet := read(t, "envoy/"+name+".yaml"), read(t, "envoy/fleet/"+name+".yaml")
		for golden, sources := range map[string][]byte{name: file, name + "-fleet": slices.Concat(file, fleet)} {
			digest := sha256.Sum256(sources)
			if got, want := load(t, golden).Source, hex.EncodeToString(digest[:]); got != want {
				t.Errorf("e2e/mesh/testdata/%s.json was made from other files: run go test -update in e2e/mesh/%s", golden, map[string]string{"istio": "istio", "envoy-gateway": "gateway"}[name])
			}
		}
	}
}

// All shipped configurations have the same rule, and those for a fleet the same fleet.
func TestSameRule(t *testing.T) {
	for name, shipped := range map[string]string{
		"istio": envoy.Config, "envoy-gateway": envoy.Config, "istio-fleet": envoy.FleetConfig, "envoy-gateway-fleet": envoy.FleetConfig,
	} {
		var plain, handed any
		if err := json.Unmarshal([]byte(filterIn(t, shipped)), &plain); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(load(t, name).filter(t)), &handed); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(handed, plain) {
			t.Errorf("%s: got the configuration %v, want that of plain Envoy: %v", name, handed, plain)
		}
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
