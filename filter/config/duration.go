package config

import (
	"math"
	"strconv"
	"strings"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// nanosecondsPerMilli is how many of what durations are read in make one of what
// they are kept in.
const nanosecondsPerMilli = 1_000_000

// duration returns a duration from least to most, in whole milliseconds: that
// is how finely the filter counts.
func (v value) duration(least, most policy.Millis) (policy.Millis, bool) {
	return v.durationFrom(least, most, span(least, most))
}

// durationOrOff is duration for a field that zero turns off.
func (v value) durationOrOff(least, most policy.Millis) (policy.Millis, bool) {
	if n, ok := nanoseconds(v.content); v.kind == text && ok && n == 0 {
		return 0, true
	}
	return v.durationFrom(least, most, span(least, most)+` or "0s"`)
}

func (v value) durationFrom(least, most policy.Millis, wanted string) (policy.Millis, bool) {
	n, ok := nanoseconds(v.content)
	switch {
	case v.kind != text, !ok, n < int64(least)*nanosecondsPerMilli, n > int64(most)*nanosecondsPerMilli:
		v.fault("found %v, want a duration as \"30s\" %s", v.node, wanted)
	case n%nanosecondsPerMilli != 0:
		v.fault("found %v, want whole milliseconds", v.node)
	default:
		return policy.Millis(n / nanosecondsPerMilli), true
	}
	return 0, false
}

// nanoseconds reads s as time.ParseDuration does, but takes no sign.
func nanoseconds(s string) (sum int64, ok bool) {
	if s == "0" {
		return 0, true
	}
	for rest := s; rest != ""; {
		var whole, fraction, unit string
		whole, rest = leading(rest, isDigit)
		if after, dotted := strings.CutPrefix(rest, "."); dotted {
			fraction, rest = leading(after, isDigit)
		}
		unit, rest = leading(rest, func(c byte) bool { return c != '.' && !isDigit(c) })
		size := sizeOf(unit)
		n, err := strconv.ParseInt("0"+whole, 10, 64)
		if size == 0 || whole+fraction == "" || err != nil || n > (math.MaxInt64-sum)/size {
			return 0, false
		}
		if sum += n*size + part(fraction, size); sum < 0 {
			return 0, false
		}
	}
	return sum, s != ""
}

// part is a decimal fraction of size, rounded down. Digits past those that a
// double holds are less than a nanosecond of an hour.
func part(fraction string, size int64) int64 {
	const doubles = 15
	n, scale := 0.0, 1.0
	for i := range min(len(fraction), doubles) {
		n, scale = n*10+float64(fraction[i]-'0'), scale*10
	}
	return int64(n * (float64(size) / scale))
}

// sizeOf is a unit in nanoseconds, or 0 if there is none of that name.
func sizeOf(unit string) int64 {
	switch unit {
	case "ns":
		return 1
	case "us", "µs", "μs": // the micro sign, and mu
		return 1000
	case "ms":
		return nanosecondsPerMilli
	case "s":
		return int64(policy.Second) * nanosecondsPerMilli
	case "m":
		return int64(policy.Minute) * nanosecondsPerMilli
	case "h":
		return int64(policy.Hour) * nanosecondsPerMilli
	}
	return 0
}

// leading splits s behind its first bytes for which holds is true.
func leading(s string, holds func(byte) bool) (first, rest string) {
	n := 0
	for n < len(s) && holds(s[n]) {
		n++
	}
	return s[:n], s[n:]
}

func span(least, most policy.Millis) string {
	return "from " + spelled(least) + " to " + spelled(most)
}

// spelled is d as one would write it: 24h, 1m30s, 1.5s, 250ms. It reads back as
// d, which is not negative.
func spelled(d policy.Millis) string {
	if 0 < d && d < policy.Second {
		return strconv.FormatInt(int64(d), 10) + "ms"
	}
	hours, minutes, rest := d/policy.Hour, d%policy.Hour/policy.Minute, d%policy.Minute
	var s string
	if hours > 0 {
		s = strconv.FormatInt(int64(hours), 10) + "h"
	}
	if minutes > 0 || hours > 0 && rest > 0 {
		s += strconv.FormatInt(int64(minutes), 10) + "m"
	}
	if rest > 0 || s == "" {
		s += strconv.FormatFloat(float64(rest)/float64(policy.Second), 'f', -1, 64) + "s"
	}
	return s
}
