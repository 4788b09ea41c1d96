//go:build !wasip1

package session

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// DESIGN.md's table of phases and states is the one that the scenarios hold every stream to.
func TestDesignTableOfStates(t *testing.T) {
	page, err := os.ReadFile("../DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	const head = "| phase | states in the registry |\n|---|---|\n"
	_, table, found := strings.Cut(string(page), head)
	if !found {
		t.Fatalf("DESIGN.md has no table that begins %q", head)
	}
	got := map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			break
		}
		states := strings.ReplaceAll(cells[2], " (only observed)", "")
		got[strings.TrimSpace(cells[1])] = strings.TrimSpace(states)
	}
	want := map[string]string{}
	for p, states := range legal {
		states = slices.Clone(states)
		slices.Sort(states)
		var names []string
		for _, s := range states {
			names = append(names, s.String())
		}
		want[p.String()] = strings.Join(names, ", ")
	}
	if !maps.Equal(got, want) {
		t.Errorf("DESIGN.md's table is\n%q\nwant\n%q", got, want)
	}
}

// Every phase is in the table, and has a name.
func TestPhases(t *testing.T) {
	if len(legal) != len(phases) {
		t.Errorf("%d phases have legal states, want %d", len(legal), len(phases))
	}
	for _, p := range phases {
		if legal[p] == nil || strings.Contains(p.String(), "(") {
			t.Errorf("%v has no name, or no legal states", p)
		}
	}
}
