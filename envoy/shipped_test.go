package envoy

import (
	"strings"
	"testing"
)

// Settings of the shipped file that nothing else would miss at once: without them it still works, for a while or after a
// while, and users copy the file.
func TestShippedSettings(t *testing.T) {
	for setting, without := range map[string]string{
		"delayed_close_timeout: 0s\n":     "an HTTP/1.1 client learns of a reset a second late",
		"timeout: 0s ":                    "a stream ends after 15 s",
		"idle_timeout: 0s ":               "a stream that is silent for 5 minutes ends",
		"disabled: true\n":                "requests that are not for event streams enter the filter",
		"failure_policy: FAIL_RELOAD\n":   "a crash turns the filter off until Envoy is restarted",
		"normalize_path: true\n":          "/x/../events passes the rule for /events",
		"merge_slashes: true\n":           "//events passes the rule for /events",
		"tag_name: streamlatch_rule\n":    "every rule has metrics of its own name in Prometheus",
		"max_requests: 100000}\n":         "no more than 1,024 clients can listen",
		"wasm.streamlatch.reason:PLAIN)%": "the access log does not say why a stream was ended",
	} {
		if !strings.Contains(Config, setting) {
			t.Errorf("envoy.yaml lacks %q: %s", strings.TrimSpace(setting), without)
		}
	}
}
