// Package streamlatch checks that two files in testdata, which the other tests run in Envoy, are
// what Envoy Gateway's own translator makes from envoy-gateway.yaml, without
// fleet/envoy-gateway.yaml and with it. It is a separate module, and not part of `make test`,
// because Envoy Gateway takes minutes to compile. Its import path is below Envoy Gateway's, because
// the translator is internal to it. egctl cannot do this: it has no cache of images, and so leaves
// out every Wasm filter.
//
//	go test -update   # writes ../testdata/envoy-gateway*.json: after a change of file or version
package streamlatch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/envoyproxy/gateway/api/v1alpha1/validation"
	"github.com/envoyproxy/gateway/internal/gatewayapi"
	"github.com/envoyproxy/gateway/internal/gatewayapi/resource"
	"github.com/envoyproxy/gateway/internal/logging"
	"github.com/envoyproxy/gateway/internal/wasm"
	"github.com/envoyproxy/gateway/internal/xds/bootstrap"
	"github.com/envoyproxy/gateway/internal/xds/translator"
)

var update = flag.Bool("update", false, "write testdata")

const (
	source = "../../../envoy/envoy-gateway.yaml"
	fleet  = "../../../envoy/fleet/envoy-gateway.yaml"
	golden = "../testdata/envoy-gateway.json"
	// of both files together
	fleetGolden = "../testdata/envoy-gateway-fleet.json"
)

// unfetched replaces the cache of images. It fetches nothing.
type unfetched struct{}

func (unfetched) Get(image string, _ *wasm.GetOptions) (url, checksum string, err error) {
	return "https://envoy-gateway:18002/" + image, "", nil
}

func (unfetched) Start(context.Context) {}

// Envoy Gateway accepts the file and every policy in it, and applies every patch.
func TestTranslation(t *testing.T) {
	file := read(t, source)
	check(t, golden, translate(t, file), file)
}

// The same for a fleet.
func TestFleetTranslation(t *testing.T) {
	file, added := read(t, source), read(t, fleet)
	resources := string(added)
	for document := range strings.SplitSeq(string(file), "\n---\n") {
		// These two are in the fleet's file, too, and it is applied later.
		if !strings.Contains(document, "\nkind: EnvoyProxy\n") && !strings.Contains(document, "\nkind: EnvoyExtensionPolicy\n") {
			resources += "\n---\n" + document
		}
	}
	check(t, fleetGolden, translate(t, []byte(resources)), append(file, added...))
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
		t.Errorf("%s is not what Envoy Gateway makes from the shipped files: run go test -update", golden)
	}
}

// Filters that Envoy Gateway normally puts behind its plugins stand before Streamlatch.
func TestOrder(t *testing.T) {
	const policy = "  circuitBreaker:\n    maxConnections"
	file := strings.Replace(string(read(t, source)), policy, `
  rateLimit: {type: Local, local: {rules: [{limit: {requests: 100, unit: Second}}]}}
  compressor: [{type: Gzip, gzip: {}}]
`+policy, 1)
	var listeners []struct {
		Chain struct {
			Filters []struct {
				Config struct {
					Filters []struct{ Name string } `json:"http_filters"`
				} `json:"typed_config"`
			}
		} `json:"default_filter_chain"`
	}
	resources, err := json.Marshal(translate(t, []byte(file))["listeners"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(resources, &listeners); err != nil {
		t.Fatal(err)
	}
	var orders []string
	for _, l := range listeners {
		var order []string
		for _, manager := range l.Chain.Filters {
			for _, f := range manager.Config.Filters {
				kind, _, _ := strings.Cut(strings.TrimPrefix(f.Name, "envoy.filters.http."), "/")
				order = append(order, kind)
			}
		}
		orders = append(orders, strings.Join(order, " "))
	}
	if want := "local_ratelimit compressor.gzip wasm router"; !slices.Contains(orders, want) {
		t.Errorf("got the listeners' filters %q, want %q in one of them", orders, want)
	}
}

// translate returns the resources that Envoy gets for a file, by kind.
func translate(t *testing.T, file []byte) map[string]any {
	t.Helper()
	resources, err := resource.LoadResourcesFromYAMLBytes(file, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{"stats_config": statsConfig(t, resources.EnvoyProxyForGatewayClass)}

	logger := logging.DefaultLogger(io.Discard, egv1a1.LogLevelInfo)
	gatewayAPI := &gatewayapi.Translator{
		GatewayControllerName:   string(resources.GatewayClass.Spec.ControllerName),
		GatewayClassName:        gwapiv1.ObjectName(resources.GatewayClass.Name),
		EndpointRoutingDisabled: true,
		EnvoyPatchPolicyEnabled: true,
		WasmCache:               unfetched{},
		Logger:                  logger,
	}
	// The error is about the missing certificates of the control plane. egctl ignores it too.
	translated, _ := gatewayAPI.Translate(t.Context(), resources)
	for _, p := range translated.EnvoyExtensionPolicies {
		accepted(t, p.Kind+" "+p.Name, p.Status)
	}
	for _, p := range translated.BackendTrafficPolicies {
		accepted(t, p.Kind+" "+p.Name, p.Status)
	}
	if len(translated.XdsIR) != 1 {
		t.Fatalf("got %d gateways, want 1", len(translated.XdsIR))
	}
	for _, ir := range translated.XdsIR {
		xds, err := (&translator.Translator{Logger: logger, FilterOrder: ir.FilterOrder}).Translate(t.Context(), ir)
		if err != nil {
			t.Fatal(err)
		}
		for name, kind := range map[string]string{"listeners": resourcev3.ListenerType, "routes": resourcev3.RouteType, "clusters": resourcev3.ClusterType} {
			var all []json.RawMessage
			for _, r := range xds.XdsResources[kind] {
				all = append(all, marshal(t, r))
			}
			out[name] = all
		}
		for _, p := range ir.EnvoyPatchPolicies {
			accepted(t, "EnvoyPatchPolicy "+p.Name, *p.Status)
		}
	}
	return out
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// statsConfig returns the stats_config of the bootstrap, with the patches of the EnvoyProxy.
func statsConfig(t *testing.T, proxy *egv1a1.EnvoyProxy) any {
	t.Helper()
	if err := validation.ValidateEnvoyProxy(proxy); err != nil {
		t.Fatal(err)
	}
	if err := bootstrap.Validate(proxy.Spec.Bootstrap); err != nil {
		t.Fatal(err)
	}
	rendered, err := bootstrap.GetRenderedBootstrapConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err = bootstrap.ApplyBootstrapConfig(proxy.Spec.Bootstrap, rendered)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal([]byte(rendered), &config); err != nil {
		t.Fatal(err)
	}
	return config["stats_config"]
}

func accepted(t *testing.T, policy string, status gwapiv1.PolicyStatus) {
	t.Helper()
	if len(status.Ancestors) == 0 {
		t.Errorf("%s: got no target, want one", policy)
	}
	for _, a := range status.Ancestors {
		for _, c := range a.Conditions {
			if c.Status != "True" {
				t.Errorf("%s: %s: got %s, want True: %s", policy, c.Type, c.Status, c.Message)
			}
		}
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
