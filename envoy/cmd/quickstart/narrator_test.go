package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// logged is a line of Envoy's log.
func logged(clock, level, logger, message string) string {
	return fmt.Sprintf("[2026-11-24 %s.123][42][%s][%s] [source/a.cc:1] %s", clock, level, logger, message)
}

func TestStory(t *testing.T) {
	const guest = "wasm log streamlatch streamlatch: "
	for name, test := range map[string]struct{ lines, want []string }{
		"a takeover": {
			[]string{logged("12:03:04", "debug", "wasm", guest+"takeover rule=events client=5f3a91c2 claim=17 age_ms=5321")},
			[]string{"12:03:04  takeover  rule events, client 5f3a91c2: a newer stream opened, the previous one (5.3 s old) was reset"}},
		"one with keys that are new, in another order": {
			[]string{logged("12:03:04", "debug", "wasm", guest+"takeover age_ms=0 worker=3 client=5f3a91c2 rule=mcp")},
			[]string{"12:03:04  takeover  rule mcp, client 5f3a91c2: a newer stream opened, the previous one (0.0 s old) was reset"}},
		"what is no takeover": {
			[]string{
				logged("12:03:04", "debug", "wasm", guest+"release rule=events client=5f3a91c2"),
				logged("12:03:04", "debug", "wasm", guest+"takeover rule=events client=5f3a91c2 age_ms=soon"),
				logged("12:03:04", "debug", "http", guest+"takeover rule=events client=5f3a91c2 age_ms=1"),
				logged("12:03:04", "debug", "wasm", "other: takeover rule=events client=5f3a91c2 age_ms=1"),
				logged("12:03:04", "info", "main", "all is well"),
				"takeover rule=events client=5f3a91c2 age_ms=1",
			}, nil},
		"what goes wrong": {
			[]string{logged("12:03:04", "warning", "main", "hm"), logged("12:03:05", "critical", "wasm", "no")},
			[]string{"12:03:04  warning   envoy main: hm", "12:03:05  critical  envoy wasm: no"}},
		"a crash, one word a line": {
			append(strings.Split(strings.Repeat(logged("12:03:04", "error", "wasm", "word")+"\n", 9), "\n"), logged("12:03:05", "error", "wasm", "next")),
			append(strings.Split(strings.Repeat("12:03:04  error     envoy wasm: word\n", 5)+"12:03:04  error     more of them in build/envoy.log", "\n"), "12:03:05  error     envoy wasm: next")},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			n := newNarrator(&out, "build/envoy.log")
			n.begin()
			for _, line := range test.lines {
				n.line(line)
			}
			want := strings.Join(append(test.want, ""), "\n")
			if out.String() != want {
				t.Errorf("got:\n%swant:\n%s", out.String(), want)
			}
		})
	}
}

// The story is told between begin and end. What came before begin comes with it.
func TestTheStoryHasABeginningAndAnEnd(t *testing.T) {
	var out strings.Builder
	n := newNarrator(&out, "")
	n.line(logged("00:00:01", "warning", "main", "a"))
	if out.Len() > 0 {
		t.Errorf("before the beginning: %q", out.String())
	}
	n.begin()
	n.line(logged("00:00:02", "warning", "main", "b"))
	n.end()
	n.line(logged("00:00:03", "warning", "main", "c"))
	if want := "00:00:01  warning   envoy main: a\n00:00:02  warning   envoy main: b\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestAges(t *testing.T) {
	for age, want := range map[time.Duration]string{
		40 * time.Millisecond:    "(0.0 s old)",
		5321 * time.Millisecond:  "(5.3 s old)",
		59940 * time.Millisecond: "(59.9 s old)",
		60 * time.Second:         "(1m0s old)",
		7384 * time.Second:       "(2h3m4s old)",
	} {
		if got := (takeover{age: age}).String(); !strings.Contains(got, want) {
			t.Errorf("%v: got %q, want %q", age, got, want)
		}
	}
}
