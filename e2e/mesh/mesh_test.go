// Package mesh tests the files for Istio and Envoy Gateway: they have the fields of the published
// types, and a real Envoy does the right thing with what the translator of each control plane makes
// from them (testdata; see the packages istio and gateway).
package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"sigs.k8s.io/yaml"
)

// The rig builds the filter and finds Envoy from the root of the repository.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

type object = map[string]any

// A translation is what a control plane sends to Envoy.
type translation struct {
	Source     string   `json:"source_sha256"`
	Listeners  []object `json:"listeners"`
	Routes     []object `json:"routes"`
	Clusters   []object `json:"clusters"`     // used for a fleet only
	Extensions []object `json:"extensions"`   // Istio: over ECDS
	Stats      object   `json:"stats_config"` // Envoy Gateway: in the bootstrap
}

func load(t *testing.T, name string) translation {
	t.Helper()
	var x translation
	if err := json.Unmarshal(read(t, "e2e/mesh/testdata/"+name+".json"), &x); err != nil {
		t.Fatal(err)
	}
	return x
}

// at returns the value at a path, where a string names a member and a number an element. It returns
// nil if there is none.
func at(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			o, _ := v.(object)
			v = o[step]
		case int:
			a, _ := v.([]any)
			if step >= len(a) {
				return nil
			}
			v = a[step]
		}
	}
	return v
}

// manager returns the connection manager with the filter.
func (x translation) manager(t *testing.T) object {
	t.Helper()
	for _, l := range x.Listeners {
		for _, chain := range []any{at(l, "default_filter_chain"), at(l, "filter_chains", 0)} {
			if hcm, ok := at(chain, "filters", 0, "typed_config").(object); ok && x.entry(hcm) != nil {
				return hcm
			}
		}
	}
	t.Fatal("listeners: want the filter in one of them")
	return nil
}

// entry returns the filter's entry in a connection manager.
func (x translation) entry(hcm object) object {
	filters, _ := hcm["http_filters"].([]any)
	for _, f := range filters {
		if name, _ := at(f, "name").(string); strings.Contains(name, "streamlatch") {
			return f.(object)
		}
	}
	return nil
}

// plugin returns the filter's PluginConfig, which is in the listener or comes over ECDS.
func (x translation) plugin(t *testing.T) object {
	t.Helper()
	from := any(x.entry(x.manager(t)))
	if len(x.Extensions) > 0 {
		from = x.Extensions[0]
	}
	p, ok := at(from, "typed_config", "config").(object)
	if !ok {
		t.Fatal("the filter: want a configuration")
	}
	return p
}

// filter returns the filter's own configuration. Both control planes send it as a JSON string.
func (x translation) filter(t *testing.T) string {
	t.Helper()
	c := at(x.plugin(t), "configuration")
	value, ok := at(c, "value").(string)
	if !ok || at(c, "@type") != "type.googleapis.com/google.protobuf.StringValue" {
		t.Fatalf("configuration: got %v, want a StringValue", c)
	}
	return value
}

// filterIn returns the configuration of the filter in one of plain Envoy.
func filterIn(t *testing.T, shipped string) string {
	t.Helper()
	var config any
	if err := yaml.Unmarshal([]byte(shipped), &config); err != nil {
		t.Fatal(err)
	}
	value, ok := at(config, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config",
		"http_filters", 0, "typed_config", "config", "configuration", "value").(string)
	if !ok {
		t.Fatal("want the configuration of the filter in the first HTTP filter")
	}
	return value
}

// into replaces envoy.yaml's listener for clients by a translation. Only what lies outside of the
// listener changes: the module is a local file, routes and ECDS do not come over ADS, there is one
// cluster, and filters that only Istio's build of Envoy has are left out.
func (x translation) into(t *testing.T, dir string) rig.Edit {
	hcm, plugin := x.manager(t), x.plugin(t)
	return func(config string) (string, error) {
		var c object
		if err := yaml.Unmarshal([]byte(config), &c); err != nil {
			return "", err
		}
		old := at(c, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0).(object)
		plugin["vm_config"].(object)["code"] = at(old, "typed_config", "http_filters", 0, "typed_config", "config", "vm_config", "code")
		delete(hcm, "rds")
		delete(hcm, "access_log")
		routes := x.Routes[0]
		for _, host := range routes["virtual_hosts"].([]any) {
			for _, r := range at(host, "routes").([]any) {
				at(r, "route").(object)["cluster"] = "backend"
			}
		}
		hcm["route_config"] = routes
		hcm["http_filters"] = slices.DeleteFunc(hcm["http_filters"].([]any), func(f any) bool {
			return strings.HasPrefix(at(f, "name").(string), "istio.")
		})
		if len(x.Extensions) > 0 {
			resource := x.Extensions[0]
			resource["@type"] = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
			response, err := json.Marshal(object{"version_info": "1", "resources": []any{resource}})
			if err != nil {
				return "", err
			}
			file := filepath.Join(dir, "ecds.json")
			if err := os.WriteFile(file, response, 0o600); err != nil {
				return "", err
			}
			source := at(x.entry(hcm), "config_discovery", "config_source").(object)
			delete(source, "ads")
			source["path_config_source"] = object{"path": file}
			c["node"] = object{"id": "gateway", "cluster": "gateway"} // without it Envoy asks for no resources
		}
		old["typed_config"] = hcm
		if x.Stats != nil {
			c["stats_config"] = x.Stats
		}
		edited, err := json.Marshal(c)
		return string(edited), err
	}
}

// A takeover on another worker, with what each control plane makes from the shipped file.
func TestTakeover(t *testing.T) {
	for _, name := range []string{"istio", "envoy-gateway"} {
		t.Run(name, func(t *testing.T) {
			x := load(t, name)
			if name == "istio" {
				x.Stats = bootstrapOverride(t)
			}
			ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
			defer cancel()
			r, err := rig.Start(ctx, rig.Options{Concurrency: 2, Edits: []rig.Edit{x.into(t, t.TempDir())}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := r.Stop(); err != nil {
					t.Error(err)
				}
			}()
			first := open(t, ctx, r, rig.HTTP1, 0)
			second := open(t, ctx, r, rig.HTTP2, 1)
			end, err := first.End(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if end.How != rig.Reset {
				t.Errorf("the first stream: got %v (%v), want %v", end.How, end.Err, rig.Reset)
			}
			if !r.Backend.Send(second.ID, "hello") {
				t.Fatal("the second stream: want it open at the backend")
			}
			select {
			case <-second.Events():
			case <-second.Done():
				t.Fatal("the second stream: got its end, want an event")
			case <-ctx.Done():
				t.Fatal("the second stream: got no event, want one")
			}
			wantMetric(t, ctx, r, `streamlatch_superseded{streamlatch_rule="events"} 1`)
		})
	}
}

// bootstrapOverride returns the stats_config in istio.yaml's ConfigMap. Istio's agent merges it
// into its bootstrap.
func bootstrapOverride(t *testing.T) object {
	t.Helper()
	documents := strings.Split(string(read(t, "envoy/istio.yaml")), "\n---\n")
	var m configMap
	if err := yaml.Unmarshal([]byte(documents[len(documents)-1]), &m); err != nil {
		t.Fatal(err)
	}
	var bootstrap struct {
		Stats object `json:"stats_config"`
	}
	if err := json.Unmarshal([]byte(m.Data["custom_bootstrap.json"]), &bootstrap); err != nil {
		t.Fatal(err)
	}
	return bootstrap.Stats
}

func open(t *testing.T, ctx context.Context, r *rig.Rig, p rig.Protocol, worker int) *rig.Stream {
	t.Helper()
	c, err := r.DialWorker(ctx, p, worker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := c.Open(ctx, rig.Request{Client: "alice", Path: "/events?client=alice", Header: map[string]string{"Accept": ""}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// wantMetric waits until this line is in what Envoy serves to Prometheus.
func wantMetric(t *testing.T, ctx context.Context, r *rig.Rig, line string) {
	t.Helper()
	wait.Until(t, func() error {
		request, err := http.NewRequestWithContext(ctx, "GET", r.Envoy().Admin().URL+"/stats/prometheus?filter=streamlatch", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && !slices.Contains(strings.Split(string(body), "\n"), line) {
			err = fmt.Errorf("metrics for Prometheus: want the line %q, got %s", line, body)
		}
		return err
	})
}

// Settings that a takeover does not need, but that live streams do.
func TestSettings(t *testing.T) {
	for _, name := range []string{"istio", "envoy-gateway", "istio-fleet", "envoy-gateway-fleet"} {
		x := load(t, name)
		hcm, plugin := x.manager(t), x.plugin(t)
		route := at(x.Routes[0], "virtual_hosts", 0, "routes", 0, "route")
		filters := hcm["http_filters"].([]any)
		for _, s := range []struct {
			setting   string
			got, want any
			without   string
		}{
			{"delayed_close_timeout", hcm["delayed_close_timeout"], "0s", "an HTTP/1.1 client learns of a reset a second late"},
			{"disabled", x.entry(hcm)["disabled"], true, "requests that are not for event streams enter the filter"},
			{"timeout", at(route, "timeout"), "0s", "a stream ends after 15 s"},
			{"idle_timeout", at(route, "idle_timeout"), "0s", "a stream that is silent for 5 minutes ends"},
			{"retry_policy", at(route, "retry_policy"), nil, "Envoy asks for a stream again, and the client gets two streams in one"},
			{"failure_policy", plugin["failure_policy"], "FAIL_RELOAD", "a crash turns the filter off until Envoy is restarted"},
			{"the filter before the router", at(filters[len(filters)-2], "name"), x.entry(hcm)["name"], "a refusal comes without CORS headers"},
		} {
			if s.got != s.want {
				t.Errorf("%s: %s: got %v, want %v: otherwise %s", name, s.setting, s.got, s.want, s.without)
			}
		}
	}
}
