package mesh

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/streamlatch/streamlatch/envoy"
	"sigs.k8s.io/yaml"
)

// etcd returns the cluster etcd.
func (x translation) etcd(t *testing.T) object {
	t.Helper()
	for _, c := range x.Clusters {
		if c["name"] == "etcd" {
			return c
		}
	}
	t.Fatal("clusters: want etcd")
	return nil
}

// The cluster etcd is that of fleet/envoy.yaml, but for its address, and with TLS.
func TestFleetCluster(t *testing.T) {
	var config object
	if err := yaml.Unmarshal([]byte(envoy.FleetConfig), &config); err != nil {
		t.Fatal(err)
	}
	plain := translation{}
	for _, c := range at(config, "static_resources", "clusters").([]any) {
		plain.Clusters = append(plain.Clusters, c.(object))
	}
	want := plain.etcd(t)
	delete(want, "type")
	delete(want, "load_assignment")
	for _, name := range []string{"istio-fleet", "envoy-gateway-fleet"} {
		got := load(t, name).etcd(t)
		for field, value := range want {
			if !reflect.DeepEqual(got[field], value) {
				t.Errorf("%s: %s: got %v, want that of fleet/envoy.yaml: %v", name, field, got[field], value)
			}
		}
		if extra := len(got) - len(want); extra != 3 { // and transport_socket
			t.Errorf("%s: got %d other fields in %v, want 3", name, extra, got)
		}
	}
}

// A resource that is in both files is the same in both, but for what a fleet adds.
func TestFleetReplacesTheSame(t *testing.T) {
	added := map[string][]string{ // where, by kind
		"WasmPlugin":           {"spec", "pluginConfig", "fleet"},
		"EnvoyProxy":           {"spec", "provider"},
		"EnvoyExtensionPolicy": {"spec", "wasm", "config", "fleet"},
	}
	for _, name := range []string{"istio", "envoy-gateway"} {
		before := resources(t, "envoy/"+name+".yaml")
		for id, resource := range resources(t, "envoy/fleet/"+name+".yaml") {
			old, replaces := before[id]
			path, known := added[resource["kind"].(string)]
			if replaces != known {
				t.Errorf("%s: it replaces another: %v, want %v", id, replaces, known)
				continue
			}
			if !replaces {
				continue
			}
			if !remove(resource, path) {
				t.Errorf("%s: want %q", id, path)
			}
			if !reflect.DeepEqual(resource, old) {
				t.Errorf("%s: without %q got\n%v\nwant\n%v", id, path, resource, old)
			}
		}
	}
}

// resources returns the documents of a file by kind, namespace and name.
func resources(t *testing.T, file string) map[string]object {
	t.Helper()
	all := map[string]object{}
	for _, document := range bytes.Split(read(t, file), []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(document, &o); err != nil {
			t.Fatal(err)
		}
		all[fmt.Sprint(o["kind"], " ", at(o, "metadata", "namespace"), "/", at(o, "metadata", "name"))] = o
	}
	return all
}

// remove removes the member at a path. Of a list it takes the first element.
func remove(o object, path []string) (found bool) {
	for _, step := range path[:len(path)-1] {
		next := o[step]
		if list, ok := next.([]any); ok {
			next = list[0]
		}
		if o, found = next.(object); !found {
			return false
		}
	}
	last := path[len(path)-1]
	_, found = o[last]
	delete(o, last)
	return found
}
