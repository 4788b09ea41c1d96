package rigtest

import (
	"fmt"
	"strings"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// RuleOf returns a configuration with one rule. Its path is "/<name>/" and its key is the query
// parameter client. more is added to the rule.
func RuleOf(name, more string) string {
	return `{"rules": [` + OneRule(name, more) + `]}`
}

// OneRule returns the rule of [RuleOf].
func OneRule(name, more string) string {
	return `{"name": "` + name + `", "match": {"path": {"prefix": "/` + name + `/"}}, "client": [{"query": "client"}]` + more + `}`
}

// Before puts a filter in front of Streamlatch.
func Before(filter string) rig.Edit {
	const place = "          http_filters:\n"
	return rig.Replace(place, place+filter)
}

// After puts a filter behind Streamlatch.
func After(filter string) rig.Edit {
	const place = "          - name: envoy.filters.http.router\n"
	return rig.Replace(place, filter+place)
}

// BeforeRoute puts routes before the one for event streams.
func BeforeRoute(routes string) rig.Edit {
	const place = "              - name: event-streams\n"
	return rig.Replace(place, routes+place)
}

// Indent indents each line of a text.
func Indent(text string, by int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Repeat(" ", by) + line)
	}
	return b.String()
}

// CORS puts Envoy's cors filter in front of Streamlatch, with a policy that allows one origin.
var CORS = []rig.Edit{Before(CORSFilter), CORSPolicy}

const CORSFilter = `          - name: envoy.filters.http.cors
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors
`

var CORSPolicy = rig.Replace("              domains: [\"*\"]\n", `              domains: ["*"]
              typed_per_filter_config:
                envoy.filters.http.cors:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
                  allow_origin_string_match: [{exact: "https://app.example"}]
                  allow_methods: GET, POST
                  allow_headers: x-token
`)

// OnRoute adds to the route for event streams.
func OnRoute(more string) rig.Edit {
	const place = "                  timeout: 0s       #"
	return rig.Replace(place, more+place)
}

// AnotherCluster adds a cluster with one endpoint.
func AnotherCluster(name, address string) rig.Edit {
	host, port, _ := strings.Cut(address, ":")
	const place = "  clusters:\n"
	return rig.Replace(place, place+fmt.Sprintf(`  - name: %s
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: %[1]s
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: {address: %s, port_value: %s}
`, name, host, port))
}
