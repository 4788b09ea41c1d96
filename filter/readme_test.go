package main_test

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/reply"
	"github.com/streamlatch/streamlatch/host"
)

// rows returns the rows of the table in README.md that has this header, each as a list of its
// cells.
func rows(t *testing.T, header string) [][]string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
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
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events", "client": [{"header": "x-tenant"}, {"header": "x-user"}]}],
		"fleet": {"clusters": ["etcd"], "secret": "000102030405060708090a0b0c0d0e0f"}}`)})
	m := e.Metrics()
	var want []string
	for kind, names := range map[string][]string{
		"counter":   slices.Collect(maps.Keys(m.Counters)),
		"gauge":     slices.Collect(maps.Keys(m.Gauges)),
		"histogram": slices.Collect(maps.Keys(m.Histograms)),
	} {
		for _, name := range names {
			want = append(want, strings.NewReplacer(".events.", ".<rule>.", "_second", "_<nth>").Replace(name)+" "+kind)
		}
	}
	var got []string
	for _, row := range append(rows(t, "| metric | type | counts |"), rows(t, "| metric of a fleet | type | counts |")...) {
		got = append(got, row[0]+" "+row[1])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("README.md's table of metrics\n got %q\nwant %q", got, want)
	}
}

// The module accepts every configuration in the documentation.
func TestReadmeConfigurations(t *testing.T) {
	for page, least := range map[string]int{"README.md": 2, "../envoy/README.md": 5} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(text), "```json\n")[1:]
		if len(blocks) < least {
			t.Errorf("%s has %d blocks of JSON, want at least %d", page, len(blocks), least)
		}
		for _, block := range blocks {
			block, _, _ = strings.Cut(block, "```")
			newEdge(t, host.Config{PluginConfig: []byte(block)})
		}
	}
}

func TestReadmeRefusalsTable(t *testing.T) {
	var want [][]string
	for _, why := range policy.Refusals {
		cell := func(to reply.Reader) string {
			r := reply.Refusal(why, to, 0, "")
			switch {
			case r.Status == 200:
				return "200, event stream"
			case to == reply.EventSource:
				return strconv.Itoa(int(r.Status)) + ": it stops"
			}
			return strconv.Itoa(int(r.Status))
		}
		wait := "`retry`"
		if why == policy.TakeoverLimit {
			wait = "until the next token"
		}
		want = append(want, []string{why.String(), cell(reply.EventSource), cell(reply.Program), strings.Trim(wait, "`"), "refused_" + why.String()})
	}
	got := rows(t, "| cause | EventSource | others | wait | reason in the access log |")
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("README.md's table of refusals\n got %q\nwant %q", got, want)
	}
}
