package config

import (
	"strings"
	"time"
)

// duration returns a duration from least to most, in whole milliseconds: that
// is how finely the filter counts.
func (v value) duration(least, most time.Duration) (time.Duration, bool) {
	return v.durationThat(span(least, most), func(d time.Duration) bool { return least <= d && d <= most })
}

// durationOrOff is duration for a field that zero turns off.
func (v value) durationOrOff(least, most time.Duration) (time.Duration, bool) {
	return v.durationThat(span(least, most)+` or "0s"`, func(d time.Duration) bool { return d == 0 || least <= d && d <= most })
}

func (v value) durationThat(wanted string, valid func(time.Duration) bool) (time.Duration, bool) {
	d, err := time.ParseDuration(v.content)
	switch {
	case v.kind != text, err != nil, !valid(d):
		v.fault("found %v, want a duration as \"30s\" %s", v.node, wanted)
	case d%time.Millisecond != 0:
		v.fault("found %v, want whole milliseconds", v.node)
	default:
		return d, true
	}
	return 0, false
}

func span(least, most time.Duration) string { return "from " + spelled(least) + " to " + spelled(most) }

// spelled is d as one would write it: 24h and not 24h0m0s. It reads back as d.
func spelled(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
