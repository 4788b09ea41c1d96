package config

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrInvalid is wrapped by every error of Parse.
var ErrInvalid = errors.New("invalid configuration")

const (
	// maxFaults bounds how many faults are told one by one.
	maxFaults = 20
	// maxQuoted bounds how many bytes of a value a fault repeats.
	maxQuoted = 64
)

// faults collects what is wrong with a configuration, in the order of the
// document because that is how it is read.
type faults struct {
	lines []string
	more  int // those past maxFaults
}

func (f *faults) add(path, format string, args ...any) {
	if len(f.lines) == maxFaults {
		f.more++
		return
	}
	if path == "" {
		path = "configuration"
	}
	f.lines = append(f.lines, path+": "+sprintf(format, args...))
}

func (f *faults) err() error {
	if len(f.lines) == 0 {
		return nil
	}
	lines := f.lines
	if f.more > 0 {
		lines = append(lines, sprintf("and %d more", f.more))
	}
	return &invalidError{strings.Join(lines, "\n")}
}

// invalidError is ErrInvalid with a text of its own: the faults alone, so that
// each line stands for itself in a log.
type invalidError struct{ text string }

func (e *invalidError) Error() string { return e.text }
func (e *invalidError) Unwrap() error { return ErrInvalid }

func invalid(format string, args ...any) error {
	return &invalidError{sprintf(format, args...)}
}

// invalidAt names the place of the byte at offset. Columns count characters, as
// editors do.
func invalidAt(data []byte, offset int, problem string) error {
	before := data[:min(max(offset, 0), len(data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return invalid("line %d, column %d: %s", line, column, problem)
}

// sprintf is fmt.Sprintf for the verbs %s, %q, %d and %v, and for strings, ints,
// errors and what has a String. fmt, with the os that it brings, would be 340 KB
// of the module. go vet does not look after this one; TestFormats does.
func sprintf(format string, args ...any) string {
	var text []byte
	for _, arg := range args {
		before, after, _ := strings.Cut(format, "%")
		if after == "" {
			break
		}
		text = append(text, before...)
		verb, s := after[0], told(arg)
		if verb == 'q' {
			s = strconv.Quote(s)
		}
		text = append(text, s...)
		format = after[1:]
	}
	return string(text) + format
}

func told(arg any) string {
	switch arg := arg.(type) {
	case string:
		return arg
	case int:
		return strconv.Itoa(arg)
	case error:
		return arg.Error()
	case interface{ String() string }:
		return arg.String()
	}
	return "?"
}

// quote is %q for a value of any length.
func quote(s string) string {
	if len(s) <= maxQuoted {
		return strconv.Quote(s)
	}
	end := maxQuoted
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return sprintf("%q... (%d bytes)", s[:end], len(s))
}

// clip is a number of any length.
func clip(number string) string {
	if len(number) <= maxQuoted {
		return number
	}
	return sprintf("%s... (%d bytes)", number[:maxQuoted], len(number))
}

// choices lists the words that would have been right.
func choices(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = strconv.Quote(word)
	}
	last := len(quoted) - 1
	if last < 1 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}
