package config_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/config"
)

// The table names what the parser knows: every field of it is used by a
// configuration that parses, and that uses no other.
func TestFieldsAreThoseOfTheParser(t *testing.T) {
	parse(t, everything)
	var document any
	if err := json.Unmarshal([]byte(everything), &document); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	walk(document, "", used)

	var documented []string
	for _, field := range config.Fields() {
		documented = append(documented, field.Name)
		if !used[field.Name] {
			t.Errorf("%s is documented, but not used by the example that uses everything", field.Name)
		}
		if field.Default == "" || field.Meaning == "" {
			t.Errorf("%s lacks a default or a meaning", field.Name)
		}
	}
	for name := range used {
		if !slices.Contains(documented, name) {
			t.Errorf("%s is read, but not documented", name)
		}
	}
}

// walk collects the way to each key.
func walk(v any, path string, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			name := strings.TrimPrefix(path+"."+key, ".")
			found[name] = true
			walk(member, name, found)
		}
	case []any:
		for _, item := range v {
			walk(item, path+"[]", found)
		}
	}
}

// The documented default of an optional field is what its absence means.
func TestDocumentedDefaults(t *testing.T) {
	var effective struct{ Rules []map[string]any }
	if err := json.Unmarshal([]byte(parse(t, least).String()), &effective); err != nil {
		t.Fatal(err)
	}
	defaults := map[string]string{}
	for _, field := range config.Fields() {
		defaults[field.Name] = field.Default
	}
	for _, name := range []string{"max_streams", "on_duplicate", "claim_at", "mode"} {
		want := fmt.Sprint(effective.Rules[0][name])
		if got := defaults["rules[]."+name]; got != want {
			t.Errorf("%s is documented as %q, and is %q", name, got, want)
		}
	}
}

func TestFieldsTable(t *testing.T) {
	var table strings.Builder
	for _, field := range config.Fields() {
		fmt.Fprintf(&table, "%s | %s\n", field.Name, field.Default)
	}
	want := `rules | required, 1 to 64 rules
rules[].name | required, [a-z][a-z0-9_]{0,31}, unique
rules[].match | every request
rules[].client | required, 1 to 8 sources
rules[].max_streams | 1
rules[].on_duplicate | reset_previous
rules[].claim_at | response
rules[].mode | enforce
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
rules[].match.headers[].present | one of these
rules[].client[].header | one of these
rules[].client[].cookie | one of these
rules[].client[].query | one of these
`
	if got := table.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
