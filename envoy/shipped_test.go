package envoy

import (
	"os"
	"strings"
	"testing"
)

// Settings of the shipped file that nothing else would miss at once: without them it still works, for a while or after a
// while, and users copy the file.
func TestShippedSettings(t *testing.T) {
	for setting, without := range map[string]string{
		"use_remote_address: true\n":    "anybody is whose address x-forwarded-for names",
		"delayed_close_timeout: 0s\n":   "an HTTP/1.1 client learns of a reset a second late",
		" timeout: 0s ":                 "a stream ends after 15 s",
		"idle_timeout: 0s ":             "a stream that is silent for 5 minutes ends",
		"disabled: true\n":              "requests that are not for event streams enter the filter",
		"failure_policy: FAIL_RELOAD\n": "a crash turns the filter off until Envoy is restarted",
		"normalize_path: true\n":        "/x/../events passes the rule for /events",
		"merge_slashes: true\n":         "//events passes the rule for /events",
		"tag_name: streamlatch_rule\n":  "every rule has metrics of its own name in Prometheus",
		"{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}\n": "no more than 1,024 clients can listen",
		"wasm.streamlatch.reason:PLAIN)%":                                                 "the access log does not say why a stream was ended",
	} {
		if !strings.Contains(Config, setting) {
			t.Errorf("envoy.yaml lacks %q: %s", strings.TrimSpace(setting), without)
		}
	}
}

// The listener that has the admin path is for this machine, and the one for the public has none.
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
		t.Error("a listener before internal has an admin path: anybody can end anybody's streams")
	}
	for setting, without := range map[string]string{
		"socket_address: {address: 127.0.0.1, ":               "whoever reaches the machine can end anybody's streams",
		"vm_config: *streamlatch\n":                           "it has a registry of its own, and knows of no stream",
		`'{"rules": [], "admin_path": "/streamlatch"}'`:       "nobody can see or end streams",
		"match: {prefix: /}\n                direct_response": "it is a second way to the backend",
	} {
		if strings.Count(internal, setting) != 1 {
			t.Errorf("the listener internal lacks %q: %s", strings.TrimSpace(setting), without)
		}
	}
	for _, setting := range []string{"normalize_path: ", "merge_slashes: ", "cluster: ", "disabled: "} {
		if strings.Contains(withoutComments(internal), setting) {
			t.Errorf("the listener internal has a %q", strings.TrimSpace(setting))
		}
	}
}

// envoy-ecds.yaml and what it follows are envoy.yaml in two parts, without the listener for operators: what one says and
// the other does not would be a setting that users of the other lack.
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
		t.Errorf("but for the filter, envoy-ecds.yaml is\n%s\nand envoy.yaml\n%s", ecds, config)
	}
	if !strings.Contains(entry, "\n            disabled: true\n") {
		t.Error("envoy-ecds.yaml lacks disabled: requests that are not for event streams enter the filter")
	}
	_, delivered, _ := strings.Cut(withoutComments(ECDSFilter), "\n  typed_config:\n")
	var want strings.Builder
	for line := range strings.Lines(strings.Replace(filter, ": &streamlatch\n", ":\n", 1)) {
		want.WriteString(strings.TrimPrefix(line, "          "))
	}
	if got := "  typed_config:\n" + delivered; got != want.String() {
		t.Errorf("ecds/streamlatch.yaml has the filter\n%s\nand envoy.yaml\n%s", got, want.String())
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

// Each way to load the filter names the metrics alike, and so do the dashboard and the alerts: the rule is a label, and
// the buckets are as long as streams live.
func TestShippedStatsConfig(t *testing.T) {
	const tag = `^wasmcustom\.streamlatch\.(([a-z][a-z0-9_]*)\.)[a-z_]+$`
	const prefix = "wasmcustom.streamlatch."
	const buckets = "[10, 100, 1000, 5000, 30000, 60000, 300000, 900000, 3600000, 14400000, 43200000, 86400000, 604800000]"
	yaml := []string{"tag_name: streamlatch_rule\n", "regex: '" + tag + "'\n", "match: {prefix: " + prefix + "}\n", "buckets: " + buckets + "\n"}
	for name, settings := range map[string][]string{
		"envoy.yaml":         yaml,
		"envoy-ecds.yaml":    yaml,
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
