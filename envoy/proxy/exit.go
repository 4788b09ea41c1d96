package proxy

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

const (
	// keptLines is how many lines of the log are kept to explain the end of Envoy.
	keptLines = 200
	// quotedLines bounds ExitError.LogLines. All faults that the filter finds in a configuration
	// fit.
	quotedLines = 30
)

// An ExitError says that Envoy ended although nobody stopped it, or that it did not stop cleanly.
type ExitError struct {
	Stopped  bool     // whether Stop was called
	Status   error    // from os/exec; nil is exit status 0, which Envoy also has after a SIGTERM
	LogLines []string // the last messages of Envoy's log that may say why
}

func (e *ExitError) Error() string {
	switch len(e.LogLines) {
	case 0:
		return e.Summary()
	case 1:
		return e.Summary() + ": " + e.LogLines[0]
	}
	return e.Summary() + "; its last log lines:\n  " + strings.Join(e.LogLines, "\n  ")
}

// Summary returns Error without the log lines, for a caller that has already shown the log.
func (e *ExitError) Summary() string {
	status := "exit status 0, as after a SIGTERM"
	if e.Status != nil {
		status = e.Status.Error()
	}
	if e.Stopped {
		return "envoy did not stop cleanly: " + status
	}
	return "envoy ended by itself: " + status
}

func (e *ExitError) Unwrap() error { return e.Status }

// tail keeps the last lines of a log.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == keptLines {
		t.lines = slices.Delete(t.lines, 0, 1)
	}
	t.lines = append(t.lines, line)
}

// reasons returns the messages that may say why Envoy ended with this status.
//
// An Envoy that exits has logged a warning or an error, or has printed its last lines without the
// log format: for example an unknown flag, or a missing library. An Envoy that a signal ended has
// logged an error only if it crashed, and its warnings have nothing to do with its end.
func (t *tail) reasons(status error) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	exit := (*exec.ExitError)(nil)
	exited := errors.As(status, &exit) && exit.Exited()
	found := messages(t.lines, func(e LogEntry) bool {
		return e.Alarming() && e.Logger != "backtrace" && (exited || e.Level != "warning")
	})
	if found == nil && exited {
		found = messages(t.lines, func(LogEntry) bool { return true })
	}
	found = withoutRepeats(found)
	return found[max(0, len(found)-quotedLines):]
}

// withoutRepeats removes what Envoy repeats at its end: "error `…` initializing config '…'" around
// an error that it has already logged. The text in the last quotes is the whole configuration, or
// the path of a temporary file.
func withoutRepeats(lines []string) []string {
	var kept []string
	inConfig := false // in the quoted configuration, which may have several lines
	for _, line := range lines {
		if inConfig {
			inConfig = !strings.HasSuffix(line, "'")
			continue
		}
		line, config, found := strings.Cut(line, "` initializing config '")
		inConfig = found && !strings.HasSuffix(config, "'")
		if line = strings.TrimPrefix(line, "error `"); line != "" {
			kept = append(kept, line)
		}
	}
	return slices.DeleteFunc(slices.Clone(kept), func(line string) bool {
		return slices.ContainsFunc(kept, func(other string) bool { return other != line && strings.Contains(other, line) })
	})
}

// messages returns the message of each entry that wanted accepts, with the lines that continue it.
// Equal lines are returned once. Lines before the first entry belong to an entry without a level.
func messages(lines []string, wanted func(LogEntry) bool) []string {
	var found []string
	include := wanted(LogEntry{})
	for _, line := range lines {
		if entry, begins := ParseLogEntry(line); begins {
			include = wanted(entry)
			line = entry.Message
		}
		if line = strings.TrimSpace(line); include && line != "" && !slices.Contains(found, line) {
			found = append(found, line)
		}
	}
	return found
}
