//go:build !wasip1

package session

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The README's table of reasons is what the filter writes into access logs.
func TestReadmeReasonsTable(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(readme), "| reason | the stream |\n|---|---|\n")
	if !found {
		t.Fatal("README.md has no table of reasons")
	}
	var got []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "`")
		if len(cells) < 3 {
			break
		}
		got = append(got, cells[1])
	}
	var want []string
	for _, reason := range Reasons {
		want = append(want, string(reason))
	}
	want[len(want)-1] += "<cause>"
	if !slices.Equal(got, want) {
		t.Errorf("README.md's table of reasons has %q, want %q", got, want)
	}
}
