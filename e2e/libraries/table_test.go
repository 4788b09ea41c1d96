//go:build libraries

package libraries

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of envoy/README.md")

const page = "envoy/README.md"

func row(cells ...string) string { return "| " + strings.Join(cells, " | ") + " |\n" }

// table returns what the libraries did. It is an error if one does what none should do.
func (w *world) table(t *testing.T) string {
	t.Helper()
	header := append(append([]string{"library", "a refusal is"}, causes...), "place")
	table := row(header...) + row(slices.Repeat([]string{"---"}, len(header))...)
	for _, c := range w.clients {
		cells := []string{c.Name, w.refusal(c)}
		for _, cause := range causes {
			cells = append(cells, w.outcome(c, cause))
		}
		place, lost := w.place(c)
		for _, how := range lost {
			t.Errorf("%s: it lost its place in the stream: %s", c.Name, how)
		}
		table += row(append(cells, place)...)
	}
	return table
}

// tableIn returns the page with the table, and where it is there.
func tableIn(t *testing.T, table string) (text string, start, end int) {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text = string(content)
	header, _, _ := strings.Cut(table, "\n")
	if start = strings.Index(text, header); start < 0 {
		t.Fatalf("%s has no table that begins with\n%s", page, header)
	}
	length := strings.Index(text[start:], "\n\n")
	if length < 0 {
		t.Fatalf("%s ends with the table", page)
	}
	return text, start, start + length + 1
}

func updateTable(t *testing.T, table string) {
	t.Helper()
	text, start, end := tableIn(t, table)
	if err := os.WriteFile(page, []byte(text[:start]+table+text[end:]), 0o644); err != nil {
		t.Fatal(err)
	}
}

func compareTable(t *testing.T, table string) {
	t.Helper()
	text, start, end := tableIn(t, table)
	written := slices.Collect(strings.Lines(text[start:end]))
	seen := slices.Collect(strings.Lines(table))
	for _, row := range seen {
		if !slices.Contains(written, row) {
			t.Errorf("%s lacks the row\n%s", page, row)
		}
	}
	for _, row := range written {
		if !slices.Contains(seen, row) && *only == "" {
			t.Errorf("%s has a row that no library confirms:\n%s", page, row)
		}
	}
}

// refusal returns what the library gets when it should come back.
func (w *world) refusal(c *client) string {
	var kinds []string
	for _, cause := range causes {
		if cause == duplicate {
			continue
		}
		for _, r := range w.refused(c, cause) {
			kind := "a status"
			if r.Status == 200 {
				kind = "an event stream"
			}
			if !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	return strings.Join(kinds, ", ")
}

// What becomes of a library.
const (
	back    = "back"
	failed  = "error" // it stopped, and told its program so
	stopped = "ends"  // it stopped as if the stream had come to its end
	stuck   = "stuck"
)

func (w *world) outcome(c *client, cause string) string {
	first := 2 // the stream that shows that it is back
	if slices.Contains(before, cause) {
		first = 1
	}
	ended, withError := c.ended(cause)
	switch {
	case len(w.opened(c, cause)) >= first:
		return back
	case ended && withError:
		return failed
	case ended:
		return stopped
	}
	return stuck
}

// place returns whether a library tells the backend which event it got last, and where it did not
// although it does otherwise.
func (w *world) place(c *client) (place string, lost []string) {
	place = "-"
	for _, cause := range causes {
		streams := w.opened(c, cause)
		for i := 1; i < len(streams); i++ {
			after, last := streams[i].after, streams[i-1].id
			if after != "" {
				place = "kept"
			}
			if after != last {
				lost = append(lost, fmt.Sprintf("%s: it sent %q after %q", cause, after, last))
			}
		}
	}
	if place == "-" {
		return place, nil
	}
	return place, lost
}
