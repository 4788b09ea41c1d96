//go:build sdks

package sdks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// A recipe is a section of envoy/README.md: rules of the filter, and routes of Envoy.
type recipe struct {
	rules   string // without the brackets
	routes  string
	filters string // behind Streamlatch
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
	if r.rules == "" {
		t.Fatalf("envoy/README.md has no recipe %q", heading)
	}
	return r
}

// authentication returns the jwt_authn filter of envoy/README.md, for an issuer of tokens.
func authentication(t *testing.T, issued rigtest.Tokens) rig.Edit {
	t.Helper()
	filter := part(readme(t), "```yaml\n# http_filters, before streamlatch\n", "```")
	filter = strings.Replace(filter, "{filename: jwks.json}", "{inline_string: '"+issued.Keys()+"'}", 1)
	return rigtest.Before(rigtest.Indent(filter, 10))
}

// at returns the recipe for one of several servers of MCP: the names of its rules and routes, its
// paths and its cluster have the server's name.
func (r recipe) at(server string) recipe {
	const path = `/mcp`
	rules := strings.NewReplacer(`"name": "mcp_`, `"name": "`+server+`_mcp_`, path, path+"/"+server)
	routes := strings.NewReplacer("- name: mcp", "- name: "+server+"-mcp", path, path+"/"+server, "cluster: backend", "cluster: "+server)
	return recipe{rules.Replace(r.rules), routes.Replace(r.routes), r.filters}
}

// edit puts the routes before the shipped one.
func (r recipe) edit() rig.Edit { return rigtest.BeforeRoute(rigtest.Indent(r.routes, 14)) }

// An edge is an Envoy with one recipe, for several servers.
type edge struct{ *rig.Rig }

// closesFirst lets Envoy close a connection to a server that is idle, before the server does.
func closesFirst(cluster string) rig.Edit {
	place := "  - name: " + cluster + "\n"
	return rig.Replace(place, place+`    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http_protocol_options: {}}
        common_http_protocol_options: {idle_timeout: 3s}
`)
}

// startEdge starts an Envoy with a recipe for each server of MCP.
func startEdge(t *testing.T, r recipe, servers map[string]*program, more ...rig.Edit) edge {
	t.Helper()
	var rules []string
	o := rig.Options{Concurrency: 2, LogLevel: "wasm:debug", LogFlush: 100 * time.Millisecond, Edits: []rig.Edit{countAttempts}}
	for name, server := range servers {
		at := r.at(name)
		rules = append(rules, at.rules)
		o.Edits = append(o.Edits, at.edit(), rigtest.AnotherCluster(name, fmt.Sprintf("127.0.0.1:%d", server.port(t))), closesFirst(name))
	}
	o.Filter = `{"rules": [` + strings.Join(rules, ",\n") + `]}`
	o.Edits = append(append(o.Edits, rigtest.After(rigtest.Indent(r.filters, 10))), more...)
	e := edge{rigtest.Start(t, o)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Envoy's access log:\n%s", strings.Join(e.Access.Lines(), "\n"))
		}
	})
	return e
}
