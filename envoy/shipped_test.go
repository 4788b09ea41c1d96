package envoy

import (
	"os"
	"strings"
	"testing"
)

// Users copy the shipped file. Without one of these settings it seems to work at first, so no other
// test would notice.
func TestShippedSettings(t *testing.T) {
	for setting, without := range map[string]string{
		"use_remote_address: true\n":    "a client can forge its address with x-forwarded-for",
		"delayed_close_timeout: 0s\n":   "an HTTP/1.1 client learns of a reset one second late",
		" timeout: 0s ":                 "a stream ends after 15 s",
		"idle_timeout: 0s ":             "a stream without events for 5 minutes ends",
		"disabled: true\n":              "requests for anything but an event stream enter the filter",
		"failure_policy: FAIL_RELOAD\n": "after a crash every event stream gets a 503 until Envoy is restarted",
		"normalize_path: true\n":        "/x/../events bypasses the rule for /events",
		"merge_slashes: true\n":         "//events bypasses the rule for /events",
		"tag_name: streamlatch_rule\n":  "in Prometheus the rule is part of the metric name, not a label",
		"{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}\n": "only 1,024 clients can have a stream",
		"wasm.streamlatch.reason:PLAIN)%":                                                 "the access log does not say why a stream ended",
	} {
		if !strings.Contains(Config, setting) {
			t.Errorf("envoy.yaml lacks %q: %s", strings.TrimSpace(setting), without)
		}
	}
}

// Only the internal listener has an admin path, and it is bound to this machine.
func TestShippedAdminPathIsInternal(t *testing.T) {
	edge, rest, found := strings.Cut(Config, "  - name: internal\n")
	if !found {
		t.Fatal("envoy.yaml has no listener internal")
	}
	internal, _, found := strings.Cut(rest, "\n  clusters:\n")
	if !found {
		t.Fatal("envoy.yaml has no clusters after the listener internal")
	}
	if strings.Contains(edge, "admin_path") {
		t.Error("the listener for clients has an admin path: any client can end any stream")
	}
	for setting, without := range map[string]string{
		"socket_address: {address: 127.0.0.1, ":               "any machine on the network can end any stream",
		"vm_config: *streamlatch\n":                           "it has its own registry and knows no stream",
		`'{"rules": [], "admin_path": "/streamlatch"}'`:       "operators cannot list or end streams",
		"match: {prefix: /}\n                direct_response": "clients can reach the backend without the filter",
	} {
		if strings.Count(internal, setting) != 1 {
			t.Errorf("the listener internal lacks %q: %s", strings.TrimSpace(setting), without)
		}
	}
	for _, setting := range []string{"normalize_path: ", "merge_slashes: ", "cluster: ", "disabled: "} {
		if strings.Contains(withoutComments(internal), setting) {
			t.Errorf("the listener internal has %q, want none", strings.TrimSpace(setting))
		}
	}
}

// envoy-ecds.yaml and ecds/streamlatch.yaml together are envoy.yaml without the internal listener.
// A setting that only one of the two variants has would be missing for the users of the other
// variant.
func TestShippedECDSIsTheSameConfiguration(t *testing.T) {
	cut := func(file, from, to string) (part, rest string) {
		t.Helper()
		before, after, found := strings.Cut(file, from)
		part, after, found2 := strings.Cut(after, to)
		if !found || !found2 {
			t.Fatalf("no %q, and %q after it, in %s", from, to, file)
		}
		return part, before + to + after
	}
	const router = "          - name: envoy.filters.http.router\n"
	_, config := cut(withoutComments(Config), "\n  - name: internal\n", "\n  clusters:\n")
	filter, config := cut(config, "          - name: envoy.filters.http.wasm\n            disabled: true\n", router)
	entry, ecds := cut(withoutComments(ECDSConfig), "          - name: streamlatch ", router)
	_, ecds = cut(ecds, "\nnode: ", "\nadmin:\n")
	config = strings.Replace(config, "envoy.filters.http.wasm:\n", "streamlatch:\n", 1)
	if strings.TrimSpace(config) != strings.TrimSpace(ecds) {
		t.Errorf("without the filter, envoy-ecds.yaml is\n%s\nbut envoy.yaml is\n%s", ecds, config)
	}
	if !strings.Contains(entry, "\n            disabled: true\n") {
		t.Error("envoy-ecds.yaml lacks disabled: requests for anything but an event stream enter the filter")
	}
	_, delivered, _ := strings.Cut(withoutComments(ECDSFilter), "\n  typed_config:\n")
	var want strings.Builder
	for line := range strings.Lines(strings.Replace(filter, ": &streamlatch\n", ":\n", 1)) {
		want.WriteString(strings.TrimPrefix(line, "          "))
	}
	if got := "  typed_config:\n" + delivered; got != want.String() {
		t.Errorf("ecds/streamlatch.yaml has the filter\n%s\nbut envoy.yaml has\n%s", got, want.String())
	}
}

// fleet/envoy.yaml is envoy.yaml, except for the fleet in the filter's configuration and the
// cluster etcd.
func TestShippedFleetIsTheSameConfiguration(t *testing.T) {
	settings := func(config string) string {
		var lines []string
		for line := range strings.Lines(withoutComments(config)) {
			line, _, _ = strings.Cut(line, "  # ")
			if line = strings.TrimRight(line, " \n"); line != "" {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "\n")
	}
	fleet := settings(FleetConfig)
	before, after, found := strings.Cut(fleet, "\n  - name: etcd\n")
	cluster, after, found2 := strings.Cut(after, "\noverload_manager:")
	if !found || !found2 {
		t.Fatal("fleet/envoy.yaml has no cluster etcd before the overload_manager")
	}
	fleet = strings.Replace(before+"\noverload_manager:"+after, `}],
                      "fleet": {
                        "clusters": ["etcd"],
                        "secret": "00000000000000000000000000000000"
                      }`, "}]", 1)
	fleet = strings.Replace(fleet, `, "fleet": {"clusters": ["etcd"], "secret": "00000000000000000000000000000000"}}'`, "}'", 1)
	if want := settings(Config); fleet != want {
		t.Errorf("without the fleet, fleet/envoy.yaml is\n%s\nbut envoy.yaml is\n%s", fleet, want)
	}
	for setting, without := range map[string]string{
		"connection_keepalive: {interval: 6s, timeout: 2s}": "a dead connection to etcd is not found, or etcd closes it",
		"max_requests: 10000}":                              "calls wait or fail when many streams open at once",
	} {
		if !strings.Contains(cluster, setting) {
			t.Errorf("the cluster etcd lacks %q: %s", setting, without)
		}
	}
}

func withoutComments(yaml string) string {
	var settings strings.Builder
	for line := range strings.Lines(yaml) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			settings.WriteString(line)
		}
	}
	return settings.String()
}

// The dashboard and the alerts fit every way to load the filter, because all of them name the
// metrics alike: the rule is a label, and the last bucket is as long as streams live.
func TestShippedStatsConfig(t *testing.T) {
	const tag = `^wasmcustom\.streamlatch\.(([a-z][a-z0-9_]*)\.)[a-z_]+$`
	const prefix = "wasmcustom.streamlatch."
	const buckets = "[10, 100, 1000, 5000, 30000, 60000, 300000, 900000, 3600000, 14400000, 43200000, 86400000, 604800000]"
	yaml := []string{"tag_name: streamlatch_rule\n", "regex: '" + tag + "'\n", "match: {prefix: " + prefix + "}\n", "buckets: " + buckets + "\n"}
	for name, settings := range map[string][]string{
		"envoy.yaml":         yaml,
		"envoy-ecds.yaml":    yaml,
		"fleet/envoy.yaml":   yaml,
		"envoy-gateway.yaml": yaml,
		"istio.yaml": {
			`"tag_name": "streamlatch_rule", "regex": "` + strings.ReplaceAll(tag, `\`, `\\`) + `"`,
			`"match": {"prefix": "` + prefix + `"}`,
			`"buckets": ` + buckets + "\n",
		},
	} {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, setting := range settings {
			if n := strings.Count(string(file), setting); n != 1 {
				t.Errorf("%s has %q %d times, want once", name, strings.TrimSpace(setting), n)
			}
		}
	}
}
