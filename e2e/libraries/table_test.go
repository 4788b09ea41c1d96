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

// compare compares the table with what the libraries did.
func (w *world) compare(t *testing.T) {
	t.Helper()
	header := row(append(append([]string{"library", "a refusal is"}, causes...), "place")...)
	table := header + row(slices.Repeat([]string{"---"}, len(causes)+3)...)
	for _, c := range w.clients {
		cells := []string{c.Name, w.refusal(c)}
		for _, cause := range causes {
			outcome := w.outcome(c, cause)
			if outcome == stuck {
				t.Errorf("%s, %s: it has neither come back nor stopped", c.Name, cause)
			}
			cells = append(cells, outcome)
		}
		place, lost := w.place(c)
		for _, how := range lost {
			t.Errorf("%s: it lost its place in the stream: %s", c.Name, how)
		}
		table += row(append(cells, place)...)
	}

	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	start := strings.Index(string(text), header)
	if start < 0 {
		t.Fatalf("%s has no table that begins with\n%s", page, header)
	}
	length := strings.Index(string(text[start:])+"\n\n", "\n\n") + 1
	if *update && !t.Failed() {
		if err := os.WriteFile(page, slices.Replace(text, start, start+length, []byte(table)...), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got := slices.Collect(strings.Lines(string(text[start : start+length])))
	want := slices.Collect(strings.Lines(table))
	for _, row := range want {
		if !slices.Contains(got, row) {
			t.Errorf("%s lacks the row\n%s", page, row)
		}
	}
	for _, row := range got {
		if !slices.Contains(want, row) {
			t.Errorf("%s has a row that the libraries did not confirm:\n%s", page, row)
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
