//go:build sdks

package sdks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// A recipe is a section of envoy/README.md: rules of the filter, and routes of Envoy.
type recipe struct {
	rules   string // without the brackets
	routes  string
	filters string // behind Streamlatch; "": none
}

// readme returns envoy/README.md.
func readme(t *testing.T) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "envoy", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// part returns what is between two texts, or "".
func part(text, begin, end string) string {
	_, after, _ := strings.Cut(text, begin)
	found, _, _ := strings.Cut(after, end)
	return found
}

// recipeFor returns the recipe under a heading.
func recipeFor(t *testing.T, heading string) recipe {
	t.Helper()
	section := part(readme(t), "\n### "+heading+"\n", "\n### ")
	r := recipe{
		rules:   part(section, "```json\n{\"rules\": [", "]}\n```"),
		routes:  part(section, "```yaml\n# routes, before event-streams\n", "```"),
		filters: part(section, "```yaml\n# http_filters, after streamlatch\n", "```"),
	}
	if r.rules == "" || r.routes == "" {
		t.Fatalf("recipe %q: got the rules %q and the routes %q, want both", heading, r.rules, r.routes)
	}
	return r
}

// at returns the recipe for one of several servers: all of its names and paths have the server's
// name behind them, and its cluster is the server's.
func (r recipe) at(path, server string) recipe {
	named := strings.NewReplacer(`"name": "`+r.firstWord(), `"name": "`+server+"_"+r.firstWord(), path, path+"/"+server)
	routed := strings.NewReplacer("- name: ", "- name: "+server+"-", path, path+"/"+server, "cluster: backend", "cluster: "+server)
	return recipe{named.Replace(r.rules), routed.Replace(r.routes), r.filters}
}

// firstWord returns how the names of all rules begin.
func (r recipe) firstWord() string {
	_, name, _ := strings.Cut(r.rules, `"name": "`)
	return name[:strings.IndexAny(name, `_"`)]
}

// edit puts the routes before the shipped one.
func (r recipe) edit() rig.Edit {
	const place = "              - name: event-streams\n"
	return rig.Replace(place, indented(r.routes, 14)+place)
}

func indented(text string, by int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Repeat(" ", by) + line)
	}
	return b.String()
}

// An edge is an Envoy with one recipe, for several servers.
type edge struct{ *rig.Rig }

// startEdge starts an Envoy with a recipe for each server.
func startEdge(t *testing.T, r recipe, path string, servers map[string]int, more ...rig.Edit) edge {
	t.Helper()
	var rules []string
	o := rig.Options{Concurrency: 2, LogLevel: "wasm:debug", LogFlush: 100e6}
	for name, port := range servers {
		at := r.at(path, name)
		rules = append(rules, at.rules)
		o.Edits = append(o.Edits, at.edit(), rigtest.AnotherCluster(name, fmt.Sprintf("127.0.0.1:%d", port)))
	}
	o.Filter = `{"rules": [` + strings.Join(rules, ",\n") + `]}`
	if r.filters != "" {
		o.Edits = append(o.Edits, rigtest.After(indented(r.filters, 10)))
	}
	o.Edits = append(o.Edits, more...)
	e := edge{rigtest.Start(t, o)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Envoy's access log:\n%s", strings.Join(e.Access.Lines(), "\n"))
		}
	})
	return e
}
