package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// duration returns a duration from shortest to longest. It must be a whole number of milliseconds,
// because that is the filter's unit of time.
func (v value) duration(shortest, longest policy.Millis) (policy.Millis, bool) {
	return v.durationWithin(shortest, longest, `a duration such as "30s", `+span(shortest, longest))
}

// durationOrOff is duration for a field that 0 turns off.
func (v value) durationOrOff(shortest, longest policy.Millis) (policy.Millis, bool) {
	if d, ok := parseDuration(v.content); v.kind == text && ok && d == 0 {
		return 0, true
	}
	return v.durationWithin(shortest, longest, `"0s" or a duration such as "30s", `+span(shortest, longest))
}

func (v value) durationWithin(shortest, longest policy.Millis, wanted string) (policy.Millis, bool) {
	d, ok := parseDuration(v.content)
	switch {
	case v.kind != text, !ok, d < toDuration(shortest), d > toDuration(longest):
		v.fault("found %v, want %s", v.node, wanted)
	case d%time.Millisecond != 0:
		v.fault("found %v, want a whole number of milliseconds", v.node)
	default:
		return policy.Millis(d / time.Millisecond), true
	}
	return 0, false
}

// parseDuration is time.ParseDuration without signs: "+1s" and "-0s" are invalid.
func parseDuration(s string) (d time.Duration, ok bool) {
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

func toDuration(m policy.Millis) time.Duration { return time.Duration(m) * time.Millisecond }

func span(shortest, longest policy.Millis) string {
	return fmt.Sprintf("from %s to %s", formatDuration(shortest), formatDuration(longest))
}

// formatDuration formats m as time.Duration does, without zeros at the end: 24h, 1m30s, 1.5s,
// 250ms. parseDuration reads it back as the same duration.
func formatDuration(m policy.Millis) string {
	s := toDuration(m).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
