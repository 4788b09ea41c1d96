package config

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamlatch/streamlatch/filter/policy"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "30s": 30 * time.Second, "1h0m0.5s": time.Hour + 500*time.Millisecond, "1.5ms": 1500 * time.Microsecond,
	} {
		if d, ok := parseDuration(s); !ok || d != want {
			t.Errorf("%q: got %v, %v, want %v", s, d, ok, want)
		}
	}
	for _, s := range []string{"", "1", "1 s", "1d", "1S", "-1s", "+1s", "-0s", "+0", "--1s", "1s-1s", "9223372036854775808ns"} {
		if d, ok := parseDuration(s); ok {
			t.Errorf("%q: got %v, want it refused", s, d)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for m, want := range map[policy.Millis]string{
		0: "0s", 1: "1ms", 999: "999ms", 1500: "1.5s", policy.Minute: "1m", policy.Minute + 1: "1m0.001s",
		10 * policy.Minute: "10m", 90 * policy.Second: "1m30s", policy.Hour: "1h", policy.Hour + policy.Second: "1h0m1s",
		10 * policy.Hour: "10h", policy.Hour + 10*policy.Minute: "1h10m", maxAge: "8760h",
	} {
		if got := formatDuration(m); got != want {
			t.Errorf("%d ms: got %q, want %q", m, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]policy.Millis{1, policy.Second, policy.Minute, policy.Hour}).Draw(t, "unit")
		m := unit * policy.Millis(rapid.Int64Range(0, int64(maxAge/unit)).Draw(t, "n"))
		text := formatDuration(m)
		if d, ok := parseDuration(text); !ok || d != toDuration(m) {
			t.Fatalf("%d ms are formatted as %q, which parses as %v, %v", m, text, d, ok)
		}
	})
}
