package rigtest

import "github.com/streamlatch/streamlatch/e2e/rig"

// RuleOf is a configuration of one rule, named as its path and keyed by the parameter client.
func RuleOf(name, more string) string {
	return `{"rules": [` + OneRule(name, more) + `]}`
}

// OneRule is one rule of a configuration: see [RuleOf].
func OneRule(name, more string) string {
	return `{"name": "` + name + `", "match": {"path": {"prefix": "/` + name + `/"}}, "client": [{"query": "client"}]` + more + `}`
}

// Before puts a filter in front of this one.
func Before(filter string) rig.Edit {
	const place = "          http_filters:\n"
	return rig.Replace(place, place+filter)
}

// After puts a filter behind this one.
func After(filter string) rig.Edit {
	const place = "          - name: envoy.filters.http.router\n"
	return rig.Replace(place, filter+place)
}

// CORS is Envoy's own filter in front, and what it lets in.
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
