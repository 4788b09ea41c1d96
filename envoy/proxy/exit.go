package proxy

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

const (
	// keptLines is how many of its last lines an Envoy's end is explained from.
	keptLines = 200
	// quotedLines is how many of them are quoted: room for all faults of a configuration that the filter names.
	quotedLines = 30
)

// An ExitError is the end of an Envoy that nobody stopped, or that did not stop in good order.
type ExitError struct {
	Stopped   bool     // whether it was told to
	Status    error    // how it ended; nil: with exit status 0, as after a SIGTERM
	LastWords []string // those of its last messages that may say why
}

func (e *ExitError) Error() string {
	switch len(e.LastWords) {
	case 0:
		return e.Summary()
	case 1:
		return e.Summary() + ": " + e.LastWords[0]
	}
	return e.Summary() + "; its last words:\n  " + strings.Join(e.LastWords, "\n  ")
}

// Summary is Error without the last words, for those who have shown them already.
func (e *ExitError) Summary() string {
	status := "exit status 0, as after a SIGTERM"
	if e.Status != nil {
		status = e.Status.Error()
	}
	if e.Stopped {
		return "envoy did not end in good order: " + status
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

// lastWords picks what may say why an Envoy ended with err. One that exits has complained of something, or, where the
// complaint is not in its own log format (an unknown flag, a loader's error), has said it in its last lines. One that a
// signal ended has warned of nothing, and has said something only if it crashed.
func (t *tail) lastWords(err error) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	exit := (*exec.ExitError)(nil)
	exited := errors.As(err, &exit) && exit.Exited()
	found := messages(t.lines, func(e LogEntry) bool {
		return e.Alarming() && e.Logger != "backtrace" && (exited || e.Level != "warning")
	})
	if found == nil && exited {
		found = messages(t.lines, func(LogEntry) bool { return true })
	}
	found = essence(found)
	return found[max(0, len(found)-quotedLines):]
}

// essence leaves out what Envoy says again at its end: that the same error was met when it was "initializing config",
// which is the whole configuration or the path of a file that nobody has written.
func essence(lines []string) []string {
	var said []string
	again := false
	for _, line := range lines {
		if again { // the rest of the configuration's name
			again = !strings.HasSuffix(line, "'")
			continue
		}
		line, name, ends := strings.Cut(line, "` initializing config '")
		again = ends && !strings.HasSuffix(name, "'")
		if line = strings.TrimPrefix(line, "error `"); line != "" {
			said = append(said, line)
		}
	}
	return slices.DeleteFunc(slices.Clone(said), func(line string) bool {
		return slices.ContainsFunc(said, func(other string) bool { return other != line && strings.Contains(other, line) })
	})
}

// messages returns the messages that want accepts, each once, and with each the lines that continue it. Lines before
// the first entry belong to an entry without a level.
func messages(lines []string, want func(LogEntry) bool) []string {
	var found []string
	wanted := want(LogEntry{})
	for _, line := range lines {
		if entry, begins := ParseLogEntry(line); begins {
			wanted = want(entry)
			line = entry.Message
		}
		if line = strings.TrimSpace(line); wanted && line != "" && !slices.Contains(found, line) {
			found = append(found, line)
		}
	}
	return found
}
