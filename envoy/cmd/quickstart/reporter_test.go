package main

import (
	"fmt"
	"strings"
	"testing"
)

// entry returns a line of Envoy's log.
func entry(clock, level, logger, message string) string {
	return fmt.Sprintf("[2026-11-24 %s.123][42][%s][%s] [source/a.cc:1] %s", clock, level, logger, message)
}

func TestReporter(t *testing.T) {
	const filter = "wasm log streamlatch streamlatch: "
	for name, test := range map[string]struct{ lines, want []string }{
		"a takeover": {
			[]string{entry("12:03:04", "debug", "wasm", filter+"takeover rule=events client=5f3a91c2 claim=17 age_ms=5321")},
			[]string{"12:03:04  takeover  rule events, client 5f3a91c2: a new stream opened, so the previous one (5.3 s old) was reset"}},
		"a takeover with an unknown field and another order": {
			[]string{entry("12:03:04", "debug", "wasm", filter+"takeover age_ms=0 worker=3 client=5f3a91c2 rule=mcp")},
			[]string{"12:03:04  takeover  rule mcp, client 5f3a91c2: a new stream opened, so the previous one (0.0 s old) was reset"}},
		"a refusal": {
			[]string{entry("12:03:04", "info", "wasm", filter+"refused rule=events client=5f3a91c2 reason=takeover_limit retry_ms=31300 mode=enforce")},
			[]string{"12:03:04  refused   rule events, client 5f3a91c2: a new stream was refused (takeover_limit), the client may retry in 31.3 s"}},
		"streams that the admin path ended": {
			[]string{entry("12:03:04", "info", "wasm", filter+"dismissed rule=events client=5f3a91c2 streams=2")},
			[]string{"12:03:04  deleted   rule events, client 5f3a91c2: the admin path ended its streams (2)"}},
		"other lines": {
			[]string{
				entry("12:03:04", "debug", "wasm", filter+"ended rule=events client=5f3a91c2 held=true duration_ms=1"),
				entry("12:03:04", "debug", "wasm", filter+"takeover rule=events client=5f3a91c2 age_ms=soon"),
				entry("12:03:04", "debug", "wasm", filter+"takeover client=5f3a91c2 age_ms=1"),
				entry("12:03:04", "info", "wasm", filter+"refused rule=events client=5f3a91c2 reason=duplicate retry_ms=1 mode=observe"),
				entry("12:03:04", "info", "wasm", filter+"dismissed rule=events client=5f3a91c2 streams=all"),
				entry("12:03:04", "debug", "http", filter+"takeover rule=events client=5f3a91c2 age_ms=1"),
				entry("12:03:04", "debug", "wasm", "other: takeover rule=events client=5f3a91c2 age_ms=1"),
				entry("12:03:04", "info", "main", "all is well"),
				"takeover rule=events client=5f3a91c2 age_ms=1",
			}, nil},
		"warnings and errors": {
			[]string{entry("12:03:04", "warning", "main", "hm"), entry("12:03:05", "critical", "wasm", "no")},
			[]string{"12:03:04  warning   envoy main: hm", "12:03:05  critical  envoy wasm: no"}},
		"a stack trace, one word a line": {
			append(strings.Split(strings.Repeat(entry("12:03:04", "error", "wasm", "word")+"\n", 9), "\n"), entry("12:03:05", "error", "wasm", "next")),
			append(strings.Split(strings.Repeat("12:03:04  error     envoy wasm: word\n", 5)+"12:03:04  error     more such lines are in build/envoy.log", "\n"), "12:03:05  error     envoy wasm: next")},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			r := newReporter(&out)
			r.start()
			take := r.from("", "build/envoy.log")
			for _, line := range test.lines {
				take(line)
			}
			want := strings.Join(append(test.want, ""), "\n")
			if out.String() != want {
				t.Errorf("got:\n%swant:\n%s", out.String(), want)
			}
		})
	}
}

// Lines from before start are printed by start. Lines after stop are not printed. A line says from
// which Envoy it is.
func TestReporterStartsAndStops(t *testing.T) {
	var out strings.Builder
	r := newReporter(&out)
	a, b := r.from("Envoy A", ""), r.from("Envoy B", "")
	a(entry("00:00:01", "warning", "main", "a"))
	if out.Len() > 0 {
		t.Errorf("printed before start: %q", out.String())
	}
	r.start()
	b(entry("00:00:02", "warning", "main", "b"))
	r.stop()
	a(entry("00:00:03", "warning", "main", "c"))
	if want := "00:00:01  warning   Envoy A: envoy main: a\n00:00:02  warning   Envoy B: envoy main: b\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestMilliseconds(t *testing.T) {
	for ms, want := range map[string]string{
		"40":      "0.0 s",
		"5321":    "5.3 s",
		"59940":   "59.9 s",
		"60000":   "1m0s",
		"7384000": "2h3m4s",
	} {
		if got, ok := milliseconds(ms); !ok || got != want {
			t.Errorf("%s: got %q, %t, want %q", ms, got, ok, want)
		}
	}
	if got, ok := milliseconds("soon"); ok {
		t.Errorf("got %q, want none", got)
	}
}
