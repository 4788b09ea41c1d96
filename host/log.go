package host

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// LogLevel is the severity of a log line. The numbers are those of the ABI.
type LogLevel uint32

// The log levels.
const (
	LogTrace    LogLevel = 0
	LogDebug    LogLevel = 1
	LogInfo     LogLevel = 2
	LogWarn     LogLevel = 3
	LogError    LogLevel = 4
	LogCritical LogLevel = 5
)

var logLevelNames = [...]string{"trace", "debug", "info", "warn", "error", "critical"}

func (l LogLevel) String() string {
	if int(l) < len(logLevelNames) {
		return logLevelNames[l]
	}
	return fmt.Sprintf("LogLevel(%d)", uint32(l))
}

// LogEntry is one log line: from proxy_log, from the guest's stdout (LogInfo) or stderr (LogError),
// or from Envoy itself about a VM that failed (LogError).
//
// A panic of a Go guest, with its trace, is one entry. Envoy logs each of its words on a line,
// because Go writes them one by one.
type LogEntry struct {
	Time    time.Time // of the virtual clock
	Worker  int       // or MainThread
	Level   LogLevel
	Message string
}

func (e LogEntry) String() string {
	return fmt.Sprintf("[%s][%s] %s", threadName(e.Worker), e.Level, e.Message)
}

// Logs are log lines, oldest first.
type Logs []LogEntry

// AtLeast returns the lines of this level and of more severe ones.
func (l Logs) AtLeast(level LogLevel) Logs {
	return l.where(func(e LogEntry) bool { return e.Level >= level })
}

// OfWorker returns the lines of one worker, or of MainThread.
func (l Logs) OfWorker(worker int) Logs {
	return l.where(func(e LogEntry) bool { return e.Worker == worker })
}

// Containing returns the lines whose message contains text.
func (l Logs) Containing(text string) Logs {
	return l.where(func(e LogEntry) bool { return strings.Contains(e.Message, text) })
}

func (l Logs) where(keep func(LogEntry) bool) Logs {
	var out Logs
	for _, e := range l {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

// String returns the log lines as text, for failure messages.
func (l Logs) String() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.String()
	}
	return strings.Join(lines, "\n")
}

// panicText is what a guest has written to stderr without any other log line in between. When the
// guest ends, it may turn out to be Go's report of a panic.
type panicText struct {
	parts []string
	end   int // the number of log lines after the last part
}

func (p *panicText) add(text string, w *World) {
	if p.end != len(w.logs)-1 {
		p.parts = nil
	}
	p.parts, p.end = append(p.parts, text), len(w.logs)
}

// join makes one log line of the report, if it is the newest in the log.
func (p *panicText) join(w *World) {
	first := slices.IndexFunc(p.parts, func(part string) bool {
		return strings.HasPrefix(part, "panic: ") || strings.HasPrefix(part, "fatal error: ")
	})
	if first >= 0 && p.end == len(w.logs) {
		start := p.end - len(p.parts) + first
		w.logs[start].Message = strings.TrimSuffix(strings.Join(p.parts[first:], ""), "\n")
		w.logs = w.logs[:start+1]
	}
	p.parts = nil
}
