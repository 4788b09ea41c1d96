package main_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/host"
)

// rows returns the rows of the README's table with this header, each a list of its cells.
func rows(t *testing.T, header string) [][]string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(readme), header+"\n")
	if !found {
		t.Fatalf("README.md has no table %q", header)
	}
	var rows [][]string
	for line := range strings.Lines(table) {
		line, isRow := strings.CutPrefix(strings.TrimSpace(line), "|")
		if !isRow {
			break
		}
		cells := strings.Split(strings.TrimSuffix(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		if !strings.HasPrefix(cells[0], "---") {
			rows = append(rows, cells)
		}
	}
	return rows
}

func TestReadmeConfigurationTable(t *testing.T) {
	var want [][]string
	for _, f := range config.Fields() {
		want = append(want, []string{f.Name, f.Default, f.Meaning})
	}
	got := rows(t, "| field | default | meaning |")
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("README.md's table of fields\n got %q\nwant %q", got, want)
	}
}

func TestReadmeMetricsTable(t *testing.T) {
	e := newEdge(t, host.Config{})
	m := e.Metrics()
	var want []string
	for kind, names := range map[string][]string{
		"counter":   slices.Collect(maps.Keys(m.Counters)),
		"gauge":     slices.Collect(maps.Keys(m.Gauges)),
		"histogram": slices.Collect(maps.Keys(m.Histograms)),
	} {
		for _, name := range names {
			want = append(want, strings.Replace(name, ".events.", ".<rule>.", 1)+" "+kind)
		}
	}
	var got []string
	for _, row := range rows(t, "| metric | type | counts |") {
		got = append(got, row[0]+" "+row[1])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("README.md's table of metrics\n got %q\nwant %q", got, want)
	}
}
