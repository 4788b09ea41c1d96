package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/config"
)

// with is a configuration of one rule that is valid but for the fields given.
func with(fields string) string {
	return `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], ` + fields + `}]}`
}

// from is a configuration with this client.
func from(client string) string {
	return `{"rules": [{"name": "events", "client": ` + client + `}]}`
}

// faultTable pins every text that Parse has for a fault.
var faultTable = []struct{ about, config, want string }{
	// Not a document.
	{"nothing", "", `empty configuration, want an object with "rules"`},
	{"white space", " \r\n\t", `empty configuration, want an object with "rules"`},
	{"not JSON", `rules: []`, "line 1, column 1: invalid character 'r' at start of value"},
	{"syntax, and only that", "{\n  \"Rules\": [],\n  \"é\": 1,}", "line 3, column 9: invalid character ',' at start of value"},
	{"comment", "{}\n// rules", "line 2, column 1: more after the end of the configuration"},
	{"two documents", `{} {}`, "line 1, column 4: more after the end of the configuration"},
	{"cut short", `{"rules": [`, "line 1, column 11: the document is cut short"},
	{"number", `{"rules": 01}`, "line 1, column 12: invalid character '1' after object value (expecting ',' or '}')"},
	{"invalid UTF-8", "{\n\"\xff\": 1}", "line 2, column 2: invalid UTF-8"},
	{"byte order mark", "\ufeff{}", "line 1, column 1: invalid character '\\ufeff' at start of value"},
	{"too deep", strings.Repeat("[", 17) + strings.Repeat("]", 17), "line 1, column 17: more than 16 objects and lists inside each other"},
	{"much too deep", strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17), "line 1, column 81: more than 16 objects and lists inside each other"},

	// The top level.
	{"null", `null`, "configuration: found null, want an object"},
	{"list", `[]`, "configuration: found a list, want an object"},
	{"empty object", `{}`, "rules: missing, want 1 to 64 rules"},
	{"unknown field", `{"rules": [], "admin_path": ""}`, "rules: found 0 items, want 1 to 64\n" +
		`configuration: unknown field "admin_path", want "rules"`},
	{"other case", `{"Rules": []}`, `configuration: unknown field "Rules", did you mean "rules"`},
	{"given twice", `{"rules": [], "rules": null}`, "rules: found 0 items, want 1 to 64\nrules: given more than once"},
	{"not a list", `{"rules": {}}`, "rules: found an object, want a list"},
	{"rules missing", `{"rules": null}`, "rules: found null, want a list"},
	// A rule.
	{"rule is not an object", `{"rules": ["events"]}`, `rules[0]: found "events", want an object`},
	{"empty rule", `{"rules": [{}]}`, emptyRule(0)},
	{"unknown rule field", with(`"retry": "15s"`), `rules[0]: unknown field "retry", want "name", "match", "client", "max_streams", "on_duplicate", "claim_at" or "mode"`},
	{"unknown rule field, not printable", with(`"a\nb": 1`), `rules[0]: unknown field "a\nb", want "name", "match", "client", "max_streams", "on_duplicate", "claim_at" or "mode"`},
	{"rule field in camel case", with(`"maxStreams": 1`), `rules[0]: unknown field "maxStreams", did you mean "max_streams"`},
	{"rule field in capitals", with(`"MAX-STREAMS": 1`), `rules[0]: unknown field "MAX-STREAMS", did you mean "max_streams"`},
	{"rule field given twice", with(`"mode": "observe", "mode": "observe"`), "rules[0].mode: given more than once"},
	{"rule field given three times", with(`"mode": "observe", "mode": "x", "mode": 1`), "rules[0].mode: given more than once\nrules[0].mode: given more than once"},
	{"the same key, escaped", with(`"mode": "observe", "\u006dode": "enforce"`), "rules[0].mode: given more than once"},

	{"name missing", `{"rules": [{"client": [{"query": "a"}]}]}`, "rules[0].name: missing, want [a-z][a-z0-9_]{0,31}, unique"},
	{"name misspelt", `{"rules": [{"Name": "a", "client": [{"query": "a"}]}]}`, `rules[0]: unknown field "Name", did you mean "name"`},
	{"name of the wrong type", `{"rules": [{"name": 7, "client": [{"query": "a"}]}]}`, "rules[0].name: found 7, want [a-z][a-z0-9_]{0,31}"},
	{"name empty", named(""), `rules[0].name: found "", want [a-z][a-z0-9_]{0,31}`},
	{"name in capitals", named("Events"), `rules[0].name: found "Events", want [a-z][a-z0-9_]{0,31}`},
	{"name with a dot", named("a.b"), `rules[0].name: found "a.b", want [a-z][a-z0-9_]{0,31}`},
	{"name with a digit first", named("1a"), `rules[0].name: found "1a", want [a-z][a-z0-9_]{0,31}`},
	{"name too long", named(strings.Repeat("a", 33)), `rules[0].name: found "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", want [a-z][a-z0-9_]{0,31}`},
	{"name much too long", named(strings.Repeat("é", 3000)), `rules[0].name: found "` + strings.Repeat("é", 32) + `"... (6000 bytes), want [a-z][a-z0-9_]{0,31}`},
	{"name cut between characters", named("a" + strings.Repeat("é", 3000)), `rules[0].name: found "a` + strings.Repeat("é", 31) + `"... (6001 bytes), want [a-z][a-z0-9_]{0,31}`},
	{"half a character", named(`a\ud800`), `line 1, column 23: invalid surrogate pair "\\ud800\", \"cl" in string`},
	{"name not unique", `{"rules": [{"name": "a", "client": [{"query": "q"}]}, {"name": "b", "client": [{"query": "q"}]}, {"name": "a", "client": [{"query": ""}]}]}`,
		`rules[2].name: "a" is the name of rules[0] already, want a unique name` + "\n" + `rules[2].client[0].query: found "", want the name of a query parameter`},

	{"max_streams zero", with(`"max_streams": 0`), "rules[0].max_streams: found 0, want a whole number from 1 to 64"},
	{"max_streams too large", with(`"max_streams": 65`), "rules[0].max_streams: found 65, want a whole number from 1 to 64"},
	{"max_streams negative", with(`"max_streams": -1`), "rules[0].max_streams: found -1, want a whole number from 1 to 64"},
	{"max_streams with a fraction", with(`"max_streams": 1.5`), "rules[0].max_streams: found 1.5, want a whole number from 1 to 64"},
	{"max_streams past doubles", with(`"max_streams": 1e999`), "rules[0].max_streams: found 1e999, want a whole number from 1 to 64"},
	{"max_streams long", with(`"max_streams": ` + strings.Repeat("9", 1000)), "rules[0].max_streams: found " + strings.Repeat("9", 64) + "... (1000 bytes), want a whole number from 1 to 64"},
	{"max_streams as a string", with(`"max_streams": "1"`), `rules[0].max_streams: found "1", want a whole number from 1 to 64`},
	{"max_streams null", with(`"max_streams": null`), "rules[0].max_streams: found null, want a whole number from 1 to 64"},

	{"on_duplicate of a later version", with(`"on_duplicate": "reject_new"`), `rules[0].on_duplicate: "reject_new" is not supported, want "reset_previous"`},
	{"on_duplicate of the wrong type", with(`"on_duplicate": true`), `rules[0].on_duplicate: found true, want "reset_previous"`},
	{"claim_at of a later version", with(`"claim_at": "request"`), `rules[0].claim_at: "request" is not supported, want "response"`},
	{"mode unknown", with(`"mode": "Observe"`), `rules[0].mode: "Observe" is not supported, want "enforce" or "observe"`},
	{"mode null", with(`"mode": null`), `rules[0].mode: found null, want "enforce" or "observe"`},

	// The client.
	{"client missing", `{"rules": [{"name": "a"}]}`, "rules[0].client: missing, want 1 to 8 sources"},
	{"client null", from(`null`), "rules[0].client: found null, want a list"},
	{"client not a list", from(`{"header": "a"}`), "rules[0].client: found an object, want a list"},
	{"client empty", from(`[]`), "rules[0].client: found 0 items, want 1 to 8"},
	{"client too long", from(`[` + strings.Repeat(`{"query": "a"}, `, 8) + `{"query": ""}]`), "rules[0].client: found 9 items, want 1 to 8"},
	{"source not an object", from(`["x-client-id"]`), `rules[0].client[0]: found "x-client-id", want an object`},
	{"source empty", from(`[{}]`), `rules[0].client[0]: nothing given, want exactly one of "header", "cookie" or "query"`},
	{"source of two kinds", from(`[{"query": "b", "header": "a"}]`), `rules[0].client[0]: 2 given (header, query), want exactly one of "header", "cookie" or "query"`},
	{"source of a later version", from(`[{"query": "a"}, {"jwt_claim": {"claim": "sub"}}]`), `rules[0].client[1]: unknown field "jwt_claim", want "header", "cookie" or "query"`},
	{"source given twice", from(`[{"query": "a", "query": "b"}]`), "rules[0].client[0].query: given more than once"},
	{"header name empty", from(`[{"header": ""}]`), `rules[0].client[0].header: found "", want the name of a header, as "x-client-id"`},
	{"header name with a space", from(`[{"header": "x id"}]`), `rules[0].client[0].header: found "x id", want the name of a header, as "x-client-id"`},
	{"header name not ASCII", from(`[{"header": "x-é"}]`), `rules[0].client[0].header: found "x-é", want the name of a header, as "x-client-id"`},
	{"pseudo header unknown", from(`[{"header": ":status"}]`), `rules[0].client[0].header: found ":status", want the name of a header, as "x-client-id"`},
	{"header name false", from(`[{"header": false}]`), `rules[0].client[0].header: found false, want the name of a header, as "x-client-id"`},
	{"cookie name", from(`[{"header": "a"}, {"cookie": "a=b"}]`), `rules[0].client[1].cookie: found "a=b", want the name of a cookie, as "session"`},
	{"query name", from(`[{"query": ""}]`), `rules[0].client[0].query: found "", want the name of a query parameter`},

	// The match.
	{"match null", with(`"match": null`), "rules[0].match: found null, want an object"},
	{"match unknown", with(`"match": {"host": "a"}`), `rules[0].match: unknown field "host", want "path", "methods" or "headers"`},
	{"match given twice", with(`"match": {"methods": ["GET"], "methods": ["GET"]}`), "rules[0].match.methods: given more than once"},
	{"path as a string", with(`"match": {"path": "/a"}`), `rules[0].match.path: found "/a", want an object`},
	{"path empty", with(`"match": {"path": {}}`), `rules[0].match.path: nothing given, want exactly one of "exact", "prefix" or "regex"`},
	{"path of two kinds", with(`"match": {"path": {"exact": "/a", "prefix": "/a"}}`), `rules[0].match.path: 2 given (exact, prefix), want exactly one of "exact", "prefix" or "regex"`},
	{"path given twice", with(`"match": {"path": {"exact": "/a", "exact": "/a"}}`), "rules[0].match.path.exact: given more than once"},
	{"path unknown", with(`"match": {"path": {"suffix": "/a"}}`), `rules[0].match.path: unknown field "suffix", want "exact", "prefix" or "regex"`},
	{"path without a slash", with(`"match": {"path": {"prefix": "events"}}`), `rules[0].match.path.prefix: found "events", want a path that begins with "/", without query and fragment`},
	{"path with a query", with(`"match": {"path": {"exact": "/a?b"}}`), `rules[0].match.path.exact: found "/a?b", want a path that begins with "/", without query and fragment`},
	{"path regex bad", with(`"match": {"path": {"regex": "/a("}}`), `rules[0].match.path.regex: found "/a(" (missing closing )), want an RE2 expression`},
	{"path regex empty", with(`"match": {"path": {"regex": ""}}`), `rules[0].match.path.regex: found "", want an RE2 expression`},
	{"path regex of the wrong type", with(`"match": {"path": {"regex": {"regex": "a"}}}`), "rules[0].match.path.regex: found an object, want an RE2 expression"},
	{"methods as a string", with(`"match": {"methods": "GET"}`), `rules[0].match.methods: found "GET", want a list`},
	{"methods empty", with(`"match": {"methods": []}`), "rules[0].match.methods: found 0 items, want 1 to 16"},
	{"method in lower case", with(`"match": {"methods": ["GET", "post"]}`), `rules[0].match.methods[1]: found "post", want a method in upper case, as "GET"`},
	{"method with a space", with(`"match": {"methods": ["GET /"]}`), `rules[0].match.methods[0]: found "GET /", want a method in upper case, as "GET"`},
	{"headers empty", with(`"match": {"headers": []}`), "rules[0].match.headers: found 0 items, want 1 to 16"},
	{"header empty", with(`"match": {"headers": [{}]}`), "rules[0].match.headers[0].name: missing, want the name of a header\n" +
		`rules[0].match.headers[0]: nothing given, want exactly one of "exact", "prefix", "contains" or "present"`},
	{"header without a condition", with(`"match": {"headers": [{"name": "accept"}]}`), `rules[0].match.headers[0]: nothing given, want exactly one of "exact", "prefix", "contains" or "present"`},
	{"header with two", with(`"match": {"headers": [{"name": "accept", "present": true, "exact": "a"}]}`), `rules[0].match.headers[0]: 2 given (exact, present), want exactly one of "exact", "prefix", "contains" or "present"`},
	{"header given twice", with(`"match": {"headers": [{"name": "accept", "exact": "a", "name": "b"}]}`), "rules[0].match.headers[0].name: given more than once"},
	{"header condition in other case", with(`"match": {"headers": [{"name": "accept", "Exact": "a"}]}`), `rules[0].match.headers[0]: unknown field "Exact", did you mean "exact"`},
	{"header name is the path", with(`"match": {"headers": [{"name": ":path", "exact": "/"}]}`), `rules[0].match.headers[0].name: found ":path", want the name of a header, as "accept"; path and method have fields of their own`},
	{"header value empty", with(`"match": {"headers": [{"name": "accept", "contains": ""}]}`), `rules[0].match.headers[0].contains: found "", want some text`},
	{"header value of the wrong type", with(`"match": {"headers": [{"name": "accept", "prefix": ["a"]}]}`), "rules[0].match.headers[0].prefix: found a list, want some text"},
	{"header present as a string", with(`"match": {"headers": [{"name": "accept", "present": "true"}]}`), `rules[0].match.headers[0].present: found "true", want true or false`},

	// Many.
	{"in the order of the document", `{"rules": [{"mode": 1, "max_streams": 0, "client": [{"cookie": ""}], "x": 1, "name": ""}], "y": 1}`,
		`rules[0].mode: found 1, want "enforce" or "observe"` + "\n" +
			"rules[0].max_streams: found 0, want a whole number from 1 to 64\n" +
			`rules[0].client[0].cookie: found "", want the name of a cookie, as "session"` + "\n" +
			`rules[0]: unknown field "x", want "name", "match", "client", "max_streams", "on_duplicate", "claim_at" or "mode"` + "\n" +
			`rules[0].name: found "", want [a-z][a-z0-9_]{0,31}` + "\n" +
			`configuration: unknown field "y", want "rules"`},
}

func named(name string) string {
	return `{"rules": [{"name": "` + name + `", "client": [{"query": "a"}]}]}`
}

func emptyRule(i int) string {
	return fmt.Sprintf("rules[%d].name: missing, want [a-z][a-z0-9_]{0,31}, unique\nrules[%d].client: missing, want 1 to 8 sources", i, i)
}

func TestFaults(t *testing.T) {
	for _, test := range faultTable {
		t.Run(test.about, func(t *testing.T) {
			c, err := config.Parse([]byte(test.config))
			if err == nil {
				t.Fatalf("accepted: %s", test.config)
			}
			if c != nil || !errors.Is(err, config.ErrInvalid) {
				t.Errorf("got %v and an error that does not wrap ErrInvalid: %v", c, err)
			}
			if got := err.Error(); got != test.want {
				t.Errorf("%s\n got %s\nwant %s", test.config, got, test.want)
			}
		})
	}
}

// Twenty faults are told, the others counted: 65 empty rules are one too many,
// and 64 are looked at, which lack two fields each.
func TestOnlySoManyFaultsAreTold(t *testing.T) {
	want := []string{"rules: found 65 items, want 1 to 64"}
	for i := range 9 {
		want = append(want, emptyRule(i))
	}
	want = append(want, "rules[9].name: missing, want [a-z][a-z0-9_]{0,31}, unique", "and 109 more")
	_, err := config.Parse([]byte(`{"rules": [` + strings.Repeat(`{}, `, 64) + `{}]}`))
	if got := fmt.Sprint(err); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// Whatever is sent, the answer is bounded, and so is the time.
func TestFaultsAreBounded(t *testing.T) {
	const many = 20_000
	var unique strings.Builder
	for i := range many {
		fmt.Fprintf(&unique, `"k%d": 1, `, i)
	}
	for about, text := range map[string]string{
		"unknown fields":  `{` + unique.String() + `"rules": []}`,
		"repeated fields": with(strings.Repeat(`"mode": "x", `, many) + `"mode": "x"`),
		"long key":        `{"` + strings.Repeat("k", many) + `": 1}`,
		"long regex":      with(`"match": {"path": {"regex": "` + strings.Repeat("(", many) + `"}}`),
		"large regex":     with(`"match": {"path": {"regex": "((((a{100}){100}){100}){100}){100}"}}`),
		"rules":           `{"rules": [` + strings.Repeat(`{},`, many) + `{}]}`,
		"depth":           strings.Repeat("[", 20*many),
		"closed depth":    strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
	} {
		_, err := config.Parse([]byte(text))
		if err == nil {
			t.Errorf("%s: accepted", about)
			continue
		}
		if got := err.Error(); len(got) > 4<<10 || strings.Count(got, "\n") > 20 {
			t.Errorf("%s: an error of %d bytes and %d lines", about, len(got), strings.Count(got, "\n")+1)
		}
	}
}
