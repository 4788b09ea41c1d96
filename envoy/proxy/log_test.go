package proxy

import (
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParseLogEntry(t *testing.T) {
	for line, want := range map[string]LogEntry{
		"[2026-11-24 13:51:45.859][11892][debug][wasm] [source/extensions/common/wasm/context.cc:1148] wasm log streamlatch streamlatch: takeover rule=events": {
			"2026-11-24 13:51:45.859", "debug", "wasm", "wasm log streamlatch streamlatch: takeover rule=events"},
		"[2026-11-24 13:51:45.859][7][critical][backtrace] [./source/server/backtrace.h:113] Caught Aborted": {
			"2026-11-24 13:51:45.859", "critical", "backtrace", "Caught Aborted"},
		"[2026-11-24 13:51:45.859][7][info][main] [no file] text\r\n": {
			"2026-11-24 13:51:45.859", "info", "main", "[no file] text"},
	} {
		got, ok := ParseLogEntry(line)
		if !ok || got != want {
			t.Errorf("%q:\ngot  %+v, %t\nwant %+v", line, got, ok, want)
		}
	}
	for _, line := range []string{"", "goroutine 1 [running]:", `{"status":200}`, "[2026-11-24] [main] text"} {
		if got, ok := ParseLogEntry(line); ok {
			t.Errorf("%q: got %+v, want none", line, got)
		}
	}
}

func TestEachLine(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, test := range map[string]struct{ writes, want []string }{
		"whole lines":            {[]string{"a\n", "b\n"}, []string{"a", "b"}},
		"several in one write":   {[]string{"a\nb\n\nc\n"}, []string{"a", "b", "", "c"}},
		"one in several writes":  {[]string{"a", "b", "c\nd"}, []string{"abc"}},
		"the end of line alone":  {[]string{"a", "\n"}, []string{"a"}},
		"carriage return":        {[]string{"a\r\n"}, []string{"a"}},
		"a line above the limit": {[]string{long + "y", "z\n"}, []string{long + "y", "z"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			w := EachLine(func(line string) { got = append(got, line) })
			for _, text := range test.writes {
				if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
					t.Errorf("write of %d bytes: %d, %v", len(text), n, err)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %.100q, want %.100q", got, test.want)
			}
		})
	}
}

func numbers(from, to int) (lines []string) {
	for i := from; i <= to; i++ {
		lines = append(lines, strconv.Itoa(i))
	}
	return lines
}

func TestReasons(t *testing.T) {
	failed := exec.Command("sh", "-c", "exit 1").Run()
	killed := exec.Command("sh", "-c", "kill -9 $$").Run()
	const head = "[2026-11-24 13:51:45.859][7]"
	for name, test := range map[string]struct {
		err   error
		lines []string
		want  []string
	}{
		"errors, each once, with their second lines": {failed,
			[]string{head + "[info][main] [a.cc:1] hello", head + "[critical][main] [a.cc:1] cannot bind", "  port 80", head + "[info][main] [a.cc:1] exiting", "bye", head + "[error][config] [a.cc:1] cannot bind"},
			[]string{"cannot bind", "port 80"}},
		"an error that is repeated at the end, once": {failed,
			[]string{head + "[warning][main] [a.cc:1] listener 'x' failed to bind: cannot bind '[::1]:80': in use", head + "[critical][main] [a.cc:1] error `cannot bind '[::1]:80': in use` initializing config 'goo.gle/debugstr", "  /tmp/envoy.yaml'", head + "[error][main] [a.cc:1] but this is new"},
			[]string{"listener 'x' failed to bind: cannot bind '[::1]:80': in use", "but this is new"}},
		"an error that is logged only at the end": {failed,
			[]string{head + "[critical][main] [a.cc:1] error `no such field:", "  'x'` initializing config 'goo.gle/debugstr /tmp/envoy.yaml'"},
			[]string{"no such field:", "'x'"}},
		"no error in the log: the last lines": {failed, []string{"PARSE ERROR: Argument: --x", "  no match"}, []string{"PARSE ERROR: Argument: --x", "no match"}},
		"an error without the frames of its backtrace": {killed,
			[]string{head + "[error][wasm] [a.cc:1] vm failed", head + "[critical][backtrace] [b.h:1] #0: [0x55]"}, []string{"vm failed"}},
		"killed: its log does not say why": {killed, []string{head + "[warning][main] [a.cc:1] hm", head + "[info][main] [a.cc:1] all is well"}, nil},
		"only the last ones":               {failed, numbers(1, 2*quotedLines), numbers(quotedLines+1, 2*quotedLines)},
	} {
		t.Run(name, func(t *testing.T) {
			var last tail
			for _, line := range test.lines {
				last.add(line)
			}
			if got := last.reasons(test.err); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestTheTailIsBounded(t *testing.T) {
	var last tail
	for range 3 * keptLines {
		last.add("x")
	}
	last.add("end")
	if n := len(last.lines); n != keptLines || last.lines[n-1] != "end" {
		t.Errorf("keeps %d lines, the last %q", n, last.lines[n-1])
	}
}

func TestExitErrorText(t *testing.T) {
	for want, err := range map[string]*ExitError{
		"envoy ended by itself: exit status 0, as after a SIGTERM":                         {},
		"envoy did not stop cleanly: signal: killed":                                       {Stopped: true, Status: errors.New("signal: killed")},
		"envoy ended by itself: exit status 1: cannot bind":                                {Status: errors.New("exit status 1"), LogLines: []string{"cannot bind"}},
		"envoy ended by itself: exit status 1; its last log lines:\n  cannot bind\n  port": {Status: errors.New("exit status 1"), LogLines: []string{"cannot bind", "port"}},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
