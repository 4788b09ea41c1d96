package config

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// pastDoubles finds a fraction of more digits than are read.
var pastDoubles = regexp.MustCompile(`\.[0-9]{16}`)

// asGo fails if s is not read as Go reads it. A sign is refused, and of a fraction
// longer than fifteen digits Go may round the last nanosecond up.
func asGo(t interface{ Fatalf(string, ...any) }, s string) {
	n, ok := nanoseconds(s)
	want, err := time.ParseDuration(s)
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
		if ok {
			t.Fatalf("%q was read as %d", s, n)
		}
		return
	}
	switch off := int64(want) - n; {
	case ok != (err == nil):
		t.Fatalf("%q: read as %d, %v; by Go as %d, %v", s, n, ok, want, err)
	case ok && off != 0 && (!pastDoubles.MatchString(s) || off < 0 || off > int64(strings.Count(s, "."))):
		t.Fatalf("%q: read as %d, by Go as %d", s, n, want)
	}
}

func TestDurationsAreReadAsGoReadsThem(t *testing.T) {
	for _, s := range []string{
		"", "0", "0s", "00", "1", ".", ".s", "1.s", ".5s", "1..5s", "1.5.5s", "s", "1ss", "1 s", " 1s", "1s ", "1S", "1d",
		"-1s", "+1s", "-0", "1s-1s", "1e3s", "0x1s", "1_0s", "1.5", "1h2", "1h1h", "1ns1us1µs1μs1ms1s1m1h", "1\xb5s", "1µ",
		"9223372036854775807ns", "9223372036854775808ns", "9223372036854775807.9ns", "9223372036854.775807ms", "9223372036854.775808ms",
		"2562047h47m16.854775807s", "2562047h47m16.854775808s", "2562047.9h", "9223372036s854775807ns1ns", "99999999999999999999h",
		"9223372036854775807ns9223372036.999999999s", // twice as much is past the sign
		"0.29ms", "0.0000001ms", "1.001s", "0.3333333333333333333h", "0.277777777777778h", "0.999999999999999999999h", "1." + strings.Repeat("9", 400) + "s",
	} {
		asGo(t, s)
	}
	rapid.Check(t, func(t *rapid.T) {
		var s strings.Builder
		for range rapid.IntRange(1, 4).Draw(t, "terms") {
			s.WriteString(rapid.StringMatching(`([0-9]{0,5}|[0-9]{18,20})(\.[0-9]{0,17})?(ns|us|µs|μs|ms|s|m|h|x|)`).Draw(t, "term"))
		}
		asGo(t, s.String())
	})
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"1h30m", "250ms", "1.5s", "0", "1us2µs3ns", "-1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { asGo(t, s) })
}

// A duration is spelled as Go spells it, but for zeros at the end.
func TestDurationsAreSpelledAsGoSpellsThem(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, d policy.Millis) {
		want := (time.Duration(d) * time.Millisecond).String()
		if short, ok := strings.CutSuffix(want, "m0s"); ok {
			want = short + "m"
		}
		if short, ok := strings.CutSuffix(want, "h0m"); ok {
			want = short + "h"
		}
		got := spelled(d)
		if got != want {
			t.Fatalf("%d ms are spelled %q, want %q", d, got, want)
		}
		if n, ok := nanoseconds(got); !ok || n != int64(d)*nanosecondsPerMilli {
			t.Fatalf("%q reads back as %d, %v", got, n, ok)
		}
	}
	for d := range 2 * policy.Minute {
		check(t, d)
	}
	rapid.Check(t, func(t *rapid.T) {
		units := rapid.SampledFrom([]policy.Millis{1, policy.Second, policy.Minute, policy.Hour}).Draw(t, "unit")
		check(t, units*policy.Millis(rapid.Int64Range(0, int64(maxAge/units)).Draw(t, "n")))
	})
}
