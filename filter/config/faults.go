package config

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// maxFaults is how many faults are reported one by one. Further faults are counted.
	maxFaults = 20
	// maxQuoted is how many bytes of a value a fault repeats.
	maxQuoted = 64
)

// faults collects the faults of a configuration, in the order of the document.
type faults struct {
	lines []string
	more  int // faults after the first maxFaults
}

// add adds the fault of the value at path; "" is the whole configuration.
func (f *faults) add(path, format string, args ...any) {
	if len(f.lines) == maxFaults {
		f.more++
		return
	}
	if path == "" {
		path = "configuration"
	}
	f.lines = append(f.lines, path+": "+fmt.Sprintf(format, args...))
}

func (f *faults) count() int { return len(f.lines) + f.more }

// String returns one line for each fault, and at the end a line that counts the others.
func (f *faults) String() string {
	text := strings.Join(f.lines, "\n")
	if f.more > 0 {
		text += fmt.Sprintf("\nand %d more faults", f.more)
	}
	return text
}

// errorAt returns an error with the line and the column of the byte at offset. Columns count
// characters, as editors do.
func errorAt(data []byte, offset int, problem string) error {
	before := data[:min(max(offset, 0), len(data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Errorf("line %d, column %d: %s", line, column, problem)
}

// The types below format the values in a fault when the fault is reported. Faults after the first
// maxFaults are only counted, so their values cost nothing.

// quoted is a string in double quotes. After maxQuoted bytes it is cut.
type quoted string

func (q quoted) String() string {
	if len(q) <= maxQuoted {
		return fmt.Sprintf("%q", string(q))
	}
	end := maxQuoted
	for end > 0 && !utf8.RuneStart(q[end]) {
		end--
	}
	return fmt.Sprintf("%q... (%d bytes)", string(q[:end]), len(q))
}

// numeral is a number as it was written. After maxQuoted bytes it is cut.
type numeral string

func (n numeral) String() string {
	if len(n) <= maxQuoted {
		return string(n)
	}
	return fmt.Sprintf("%s... (%d bytes)", string(n[:maxQuoted]), len(n))
}

// choices are the words that are accepted: "a", "b" or "c".
type choices []string

func (c choices) String() string {
	quoted := make([]string, len(c))
	for i, word := range c {
		quoted[i] = fmt.Sprintf("%q", word)
	}
	last := len(quoted) - 1
	if last < 1 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}
