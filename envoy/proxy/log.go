package proxy

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A LogEntry is one line of Envoy's own log.
type LogEntry struct {
	Time    string // as Envoy wrote it: local time, "2026-01-31 12:03:04.567"
	Level   string // trace, debug, info, warning, error, critical
	Logger  string // the component: main, config, wasm, …
	Message string
}

// logLine is Envoy's default log format: [time][thread][level][logger] [file:line] message. Without a file where a
// backtrace is printed.
var logLine = regexp.MustCompile(`^\[([^]]+)\]\[\d+\]\[([a-z]+)\]\[([a-z0-9_]+)\] (?:\[[^]]*:\d+\] )?(.*)$`)

// ParseLogEntry reads a line of Envoy's log. It reports false for a line that does not begin an entry, as the second
// line of a message that has two.
func ParseLogEntry(line string) (LogEntry, bool) {
	m := logLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
	if m == nil {
		return LogEntry{}, false
	}
	return LogEntry{Time: m[1], Level: m[2], Logger: m[3], Message: m[4]}, true
}

// Alarming reports whether an entry tells of something that went wrong.
func (e LogEntry) Alarming() bool {
	return slices.Contains([]string{"warning", "error", "critical"}, e.Level)
}

// maxLine bounds what EachLine holds back while it waits for the end of a line.
const maxLine = 64 << 10

// EachLine returns a writer that calls f with every line written to it, without its end. A line that is longer than
// 64 KiB comes in pieces; one that never ends, not at all. The writer is safe for concurrent use; f is called by one
// goroutine at a time.
func EachLine(f func(line string)) io.Writer { return &lines{f: f} }

type lines struct {
	f func(string)

	mu   sync.Mutex
	part []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	for {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		l.part = append(l.part, line...)
		if !whole && len(l.part) < maxLine {
			return n, nil
		}
		l.f(strings.TrimSuffix(string(l.part), "\r"))
		l.part = l.part[:0]
		if p = rest; len(p) == 0 {
			return n, nil
		}
	}
}
