package config_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/config"
)

// Every documented field is used by a configuration that parses, and that configuration uses no
// other field.
func TestFieldsAreTheFieldsOfParse(t *testing.T) {
	parse(t, complete)
	var document any
	if err := json.Unmarshal([]byte(complete), &document); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	collectFields(document, "", used)

	var documented []string
	for _, field := range config.Fields() {
		documented = append(documented, field.Name)
		if !used[field.Name] {
			t.Errorf("%s is documented, but the complete configuration does not use it", field.Name)
		}
		if strings.ContainsAny(field.Default+field.Meaning, "|\n") {
			t.Errorf("%s: the documentation has a | or a line feed, and does not fit in a table", field.Name)
		}
		if field.Default == "" || field.Meaning == "" {
			t.Errorf("%s has no default or no meaning", field.Name)
		}
	}
	for name := range used {
		if !slices.Contains(documented, name) {
			t.Errorf("%s is used, but not documented", name)
		}
	}
}

// collectFields collects the path of each key.
func collectFields(v any, path string, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			name := strings.TrimPrefix(path+"."+key, ".")
			// The sources of instance have the schema of client, which is documented once.
			name = strings.Replace(name, ".instance[].", ".client[].", 1)
			found[name] = true
			collectFields(member, name, found)
		}
	case []any:
		for _, item := range v {
			collectFields(item, path+"[]", found)
		}
	}
}

// The documented default of an optional field is its value when it is not given.
func TestDocumentedDefaults(t *testing.T) {
	var effective any
	if err := json.Unmarshal([]byte(parse(t, minimal).String()), &effective); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	collectValues(effective, "", values)
	var fleet struct{ Fleet any }
	if err := json.Unmarshal([]byte(parse(t, withFleet("")).String()), &fleet); err != nil {
		t.Fatal(err)
	}
	collectValues(fleet.Fleet, "fleet", values)
	bucket := values["rules[].takeover_limit.max_tokens"] + " tokens, " + values["rules[].takeover_limit.tokens_per_fill"] +
		" each " + values["rules[].takeover_limit.fill_interval"]
	for _, field := range config.Fields() {
		want, isValue := values[field.Name]
		switch field.Name {
		case "rules[].takeover_limit":
			want = bucket
		case "admin_path":
			want = strconv.Quote(want)
		case "rules[].scope": // in words: TestDefaultsOfAFleet
			want = "fleet if there is one"
		default:
			if !isValue || strings.HasPrefix(field.Default, "required") || field.Default == "one of these" {
				continue
			}
		}
		if field.Default != want {
			t.Errorf("%s: the documented default is %q, the real one is %q", field.Name, field.Default, want)
		}
		delete(values, field.Name)
	}
	delete(values, "rules[].name")
	delete(values, "rules[].client[].header")
	delete(values, "fleet.clusters[]")
	delete(values, "fleet.secret")
	if len(values) > 0 {
		t.Errorf("these defaults are not documented: %v", values)
	}
}

// collectValues collects the path and the text of each value that is no object and no list.
func collectValues(v any, path string, found map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			collectValues(member, strings.TrimPrefix(path+"."+key, "."), found)
		}
	case []any:
		for _, item := range v {
			collectValues(item, path+"[]", found)
		}
	default:
		found[path] = fmt.Sprint(v)
	}
}

func TestFieldsTable(t *testing.T) {
	var table strings.Builder
	for _, field := range config.Fields() {
		fmt.Fprintf(&table, "%s | %s\n", field.Name, field.Default)
	}
	want := `rules | required, 1 to 64 rules
max_total_streams | 0
on_contention | allow
admin_path | ""
fleet | none
rules[].name | required, [a-z][a-z0-9_]{0,31}, unique
rules[].match | every request
rules[].client | required, 1 to 8 sources
rules[].instance | none
rules[].max_streams | 1
rules[].on_duplicate | reset_previous
rules[].claim_at | response
rules[].takeover_limit | 5 tokens, 1 each 30s
rules[].retry | 15s
rules[].goodbye_grace | 0s
rules[].max_lifetime | 0s
rules[].lifetime_jitter_percent | 10
rules[].idle_timeout | 0s
rules[].mode | enforce
rules[].scope | fleet if there is one
rules[].on_unavailable | allow
rules[].match.path | any
rules[].match.methods | any
rules[].match.headers | any
rules[].match.path.exact | one of these
rules[].match.path.prefix | one of these
rules[].match.path.regex | one of these
rules[].match.headers[].name | required, the name of a header
rules[].match.headers[].exact | one of these
rules[].match.headers[].prefix | one of these
rules[].match.headers[].contains | one of these
rules[].match.headers[].regex | one of these
rules[].match.headers[].present | one of these
rules[].client[].header | one of these
rules[].client[].cookie | one of these
rules[].client[].query | one of these
rules[].client[].jwt_claim | one of these
rules[].client[].property | one of these
rules[].client[].source_address | one of these
rules[].client[].jwt_claim.claim | required, the name of a claim
rules[].client[].jwt_claim.metadata_key | required, the payload_in_metadata of jwt_authn
rules[].takeover_limit.max_tokens | 5
rules[].takeover_limit.tokens_per_fill | 1
rules[].takeover_limit.fill_interval | 30s
fleet.clusters | required, 1 to 16 names
fleet.secret | required, 32 hex digits
fleet.prefix | streamlatch
fleet.lease_ttl | 10s
fleet.timeout | 250ms
`
	if got := table.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
