package proxy

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A LogEntry is a line of Envoy's log.
type LogEntry struct {
	Time    string // local time, for example "2026-01-31 12:03:04.567"
	Level   string // trace, debug, info, warning, error or critical
	Logger  string // the component: main, config, wasm, …
	Message string
}

// logLine matches Envoy's default log format: [time][thread][level][logger] [file:line] message.
// The lines of a backtrace have no file.
var logLine = regexp.MustCompile(`^\[([^]]+)\]\[\d+\]\[([a-z]+)\]\[([a-z0-9_]+)\] (?:\[[^]]*:\d+\] )?(.*)$`)

// ParseLogEntry parses a line of Envoy's log. It returns false if the line does not begin an entry:
// a message may have several lines.
func ParseLogEntry(line string) (LogEntry, bool) {
	m := logLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
	if m == nil {
		return LogEntry{}, false
	}
	return LogEntry{Time: m[1], Level: m[2], Logger: m[3], Message: m[4]}, true
}

// Alarming reports whether the level of the entry is warning or above.
func (e LogEntry) Alarming() bool {
	return slices.Contains([]string{"warning", "error", "critical"}, e.Level)
}

// maxLine bounds what EachLine buffers of one line.
const maxLine = 64 << 10

// EachLine returns a writer that calls f with each line written to it, without the line end. f gets
// a line of more than 64 KiB in pieces, and does not get the rest after the last line end. The
// writer is safe for concurrent use; the calls of f do not overlap.
func EachLine(f func(line string)) io.Writer { return &lineWriter{f: f} }

type lineWriter struct {
	f func(string)

	mu   sync.Mutex
	part []byte // of the line that has not ended
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	for {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		l.part = append(l.part, line...)
		if !ended && len(l.part) < maxLine {
			return n, nil
		}
		l.f(strings.TrimSuffix(string(l.part), "\r"))
		l.part = l.part[:0]
		if p = rest; len(p) == 0 {
			return n, nil
		}
	}
}
