package host

import (
	"fmt"
	"strings"
	"time"
)

// LogLevel is the severity of a log line. The numbers are the ABI's.
type LogLevel uint32

// The levels.
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

// LogEntry is one line: what a guest logged with proxy_log or wrote to stdout
// (info) or stderr (error), or what Envoy itself logs about a VM that failed
// (error).
type LogEntry struct {
	Time    time.Time // of the virtual clock
	Worker  int       // MainThread for the instances on the main thread
	Level   LogLevel
	Message string
}

func (e LogEntry) String() string {
	thread := fmt.Sprintf("worker %d", e.Worker)
	if e.Worker == MainThread {
		thread = "main thread"
	}
	return fmt.Sprintf("[%s][%s] %s", thread, e.Level, e.Message)
}

// Logs are log lines in the order they were written.
type Logs []LogEntry

// AtLeast returns the lines of level or worse.
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

// String is the lines as text, one a line, for a test's failure message.
func (l Logs) String() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.String()
	}
	return strings.Join(lines, "\n")
}
