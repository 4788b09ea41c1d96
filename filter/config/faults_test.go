package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/config"
)

// withRuleFields returns a configuration with one rule: a valid rule, and these fields in addition.
func withRuleFields(fields string) string {
	return `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], ` + fields + `}]}`
}

// withClient returns a valid configuration, except that this is the client of its rule.
func withClient(client string) string {
	return `{"rules": [{"name": "events", "client": ` + client + `}]}`
}

// withFields returns a valid configuration with these fields next to the rules.
func withFields(fields string) string {
	return `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}]}], ` + fields + `}`
}

const eightSources = `{"query": "a"}, {"query": "b"}, {"query": "c"}, {"query": "d"}, {"query": "e"}, {"query": "f"}, {"query": "g"}, {"query": "h"}`

// The known fields, as the fault for an unknown field lists them.
const (
	knownInConfig = `"rules", "max_total_streams", "on_contention", "admin_path" or "fleet"`
	knownInRule   = `"name", "match", "client", "instance", "max_streams", "on_duplicate", "claim_at", "takeover_limit", "retry", ` +
		`"goodbye_grace", "max_lifetime", "lifetime_jitter_percent", "idle_timeout", "mode", "scope" or "on_unavailable"`
	knownInSource = `"header", "cookie", "query", "jwt_claim", "property" or "source_address"`

	wantPrefix    = `want 1 to 64 letters, digits, "-", "_", "." and "/", and no "/" at the beginning and at the end`
	wantAdminPath = `want "" or a path such as "/streamlatch", without query, fragment, "%", spaces and a "/" at the end`
)

// faultTable has every text that Parse uses for a fault.
var faultTable = []struct{ about, config, want string }{
	// Documents that are not JSON.
	{"empty", "", `empty configuration, want an object with "rules"`},
	{"white space", " \r\n\t", `empty configuration, want an object with "rules"`},
	{"not JSON", `rules: []`, "line 1, column 1: invalid character 'r' at start of value"},
	{"a syntax error hides other faults", "{\n  \"Rules\": [],\n  \"é\": 1,}", "line 3, column 9: invalid character ',' at start of value"},
	{"comment", "{}\n// rules", "line 2, column 1: unexpected data after the configuration"},
	{"two documents", `{} {}`, "line 1, column 4: unexpected data after the configuration"},
	{"truncated", `{"rules": [`, "line 1, column 11: unexpected end of the document"},
	{"number", `{"rules": 01}`, "line 1, column 12: invalid character '1' after object value (expecting ',' or '}')"},
	{"invalid UTF-8", "{\n\"\xff\": 1}", "line 2, column 2: invalid UTF-8"},
	{"byte order mark", "\ufeff{}", "line 1, column 1: invalid character '\\ufeff' at start of value"},
	{"nested too deep, lists", strings.Repeat("[", 17) + strings.Repeat("]", 17), "line 1, column 17: objects and lists are nested deeper than 16 levels"},
	{"nested too deep, objects", strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17), "line 1, column 81: objects and lists are nested deeper than 16 levels"},

	// The top level.
	{"null", `null`, "configuration: found null, want an object"},
	{"list", `[]`, "configuration: found a list, want an object"},
	{"empty object", `{}`, "rules: missing, want 1 to 64 rules"},
	{"unknown field", `{"rules": [], "admin": ""}`, "rules: found 0 items, want 1 to 64\n" +
		`configuration: unknown field "admin", want ` + knownInConfig},
	{"other case", `{"Rules": []}`, `configuration: unknown field "Rules", did you mean "rules"`},
	{"given twice", `{"rules": [], "rules": null}`, "rules: found 0 items, want 1 to 64\nrules: found more than once, want it once"},
	{"not a list", `{"rules": {}}`, "rules: found an object, want a list"},
	{"rules missing", `{"rules": null}`, "rules: found null, want a list"},
	{"rules and admin_path missing", `{"on_contention": "allow"}`, "rules: missing, want 1 to 64 rules"},
	{"rules missing beside an admin_path", `{"admin_path": "/a"}`, "rules: missing, want 1 to 64 rules"},
	{"rules empty before an empty admin_path", `{"rules": [], "admin_path": ""}`, "rules: found 0 items, want 1 to 64"},
	{"rules empty after an empty admin_path", `{"admin_path": "", "rules": []}`, "rules: found 0 items, want 1 to 64"},
	{"rules empty beside a faulty admin_path", `{"rules": [], "admin_path": "a"}`, `admin_path: found "a", ` + wantAdminPath},
	{"rules empty beside an admin_path of the wrong type", `{"rules": [], "admin_path": true}`, `admin_path: found true, ` + wantAdminPath},
	{"rules empty beside two admin_paths", `{"rules": [], "admin_path": "", "admin_path": "/a"}`, "rules: found 0 items, want 1 to 64\nadmin_path: found more than once, want it once"},

	{"max_total_streams negative", withFields(`"max_total_streams": -1`), "max_total_streams: found -1, want a whole number from 0 to 10000000"},
	{"max_total_streams too large", withFields(`"max_total_streams": 10000001`), "max_total_streams: found 10000001, want a whole number from 0 to 10000000"},
	{"max_total_streams false", withFields(`"max_total_streams": false`), "max_total_streams: found false, want a whole number from 0 to 10000000"},
	{"on_contention unknown", withFields(`"on_contention": "deny"`), `on_contention: found "deny", want "allow" or "refuse"`},
	{"on_contention of the wrong type", withFields(`"on_contention": true`), `on_contention: found true, want "allow" or "refuse"`},
	{"admin_path null", withFields(`"admin_path": null`), `admin_path: found null, ` + wantAdminPath},
	{"admin_path without a slash", withFields(`"admin_path": "admin"`), `admin_path: found "admin", ` + wantAdminPath},
	{"admin_path is the root", withFields(`"admin_path": "/"`), `admin_path: found "/", ` + wantAdminPath},
	{"admin_path with a slash at the end", withFields(`"admin_path": "/a/"`), `admin_path: found "/a/", ` + wantAdminPath},
	{"admin_path with a query", withFields(`"admin_path": "/a?b"`), `admin_path: found "/a?b", ` + wantAdminPath},
	{"admin_path with a fragment", withFields(`"admin_path": "/a#b"`), `admin_path: found "/a#b", ` + wantAdminPath},
	{"admin_path escaped", withFields(`"admin_path": "/a%20b"`), `admin_path: found "/a%20b", ` + wantAdminPath},
	{"admin_path with a space", withFields(`"admin_path": "/a b"`), `admin_path: found "/a b", ` + wantAdminPath},
	{"admin_path with a line feed", withFields(`"admin_path": "/a\nb"`), `admin_path: found "/a\nb", ` + wantAdminPath},
	{"admin_path with a delete character", withFields(`"admin_path": "/a\u007f"`), `admin_path: found "/a\x7f", ` + wantAdminPath},

	// A rule.
	{"rule is not an object", `{"rules": ["events"]}`, `rules[0]: found "events", want an object`},
	{"empty rule", `{"rules": [{}]}`, emptyRule(0)},
	{"unknown rule field", withRuleFields(`"retries": "15s"`), `rules[0]: unknown field "retries", want ` + knownInRule},
	{"unknown rule field, not printable", withRuleFields(`"a\nb": 1`), `rules[0]: unknown field "a\nb", want ` + knownInRule},
	{"rule field in camel case", withRuleFields(`"maxStreams": 1`), `rules[0]: unknown field "maxStreams", did you mean "max_streams"`},
	{"rule field in capitals", withRuleFields(`"MAX-STREAMS": 1`), `rules[0]: unknown field "MAX-STREAMS", did you mean "max_streams"`},
	{"rule field given twice", withRuleFields(`"mode": "observe", "mode": "observe"`), "rules[0].mode: found more than once, want it once"},
	{"rule field given three times", withRuleFields(`"mode": "observe", "mode": "x", "mode": 1`), "rules[0].mode: found more than once, want it once\nrules[0].mode: found more than once, want it once"},
	{"the same key, escaped", withRuleFields(`"mode": "observe", "\u006dode": "enforce"`), "rules[0].mode: found more than once, want it once"},

	{"name missing", `{"rules": [{"client": [{"query": "a"}]}]}`, "rules[0].name: missing, want [a-z][a-z0-9_]{0,31}, unique"},
	{"name misspelt", `{"rules": [{"Name": "a", "client": [{"query": "a"}]}]}`, `rules[0]: unknown field "Name", did you mean "name"`},
	{"name of the wrong type", `{"rules": [{"name": 7, "client": [{"query": "a"}]}]}`, "rules[0].name: found 7, want [a-z][a-z0-9_]{0,31}"},
	{"name empty", withName(""), `rules[0].name: found "", want [a-z][a-z0-9_]{0,31}`},
	{"name in capitals", withName("Events"), `rules[0].name: found "Events", want [a-z][a-z0-9_]{0,31}`},
	{"name with a dot", withName("a.b"), `rules[0].name: found "a.b", want [a-z][a-z0-9_]{0,31}`},
	{"name with a digit first", withName("1a"), `rules[0].name: found "1a", want [a-z][a-z0-9_]{0,31}`},
	{"name too long", withName(strings.Repeat("a", 33)), `rules[0].name: found "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", want [a-z][a-z0-9_]{0,31}`},
	{"name much too long", withName(strings.Repeat("é", 3000)), `rules[0].name: found "` + strings.Repeat("é", 32) + `"... (6000 bytes), want [a-z][a-z0-9_]{0,31}`},
	{"name much too long, cut between characters", withName("a" + strings.Repeat("é", 3000)), `rules[0].name: found "a` + strings.Repeat("é", 31) + `"... (6001 bytes), want [a-z][a-z0-9_]{0,31}`},
	{"incomplete surrogate pair", withName(`a\ud800`), `line 1, column 23: invalid surrogate pair "\\ud800\", \"cl" in string`},
	{"name not unique", `{"rules": [{"name": "a", "client": [{"query": "q"}]}, {"name": "b", "client": [{"query": "q"}]}, {"name": "a", "client": [{"query": ""}]}]}`,
		`rules[2].name: "a" is already the name of rules[0], want a unique name` + "\n" + `rules[2].client[0].query: found "", want the name of a query parameter`},

	{"max_streams zero", withRuleFields(`"max_streams": 0`), "rules[0].max_streams: found 0, want a whole number from 1 to 64"},
	{"max_streams too large", withRuleFields(`"max_streams": 65`), "rules[0].max_streams: found 65, want a whole number from 1 to 64"},
	{"max_streams negative", withRuleFields(`"max_streams": -1`), "rules[0].max_streams: found -1, want a whole number from 1 to 64"},
	{"max_streams with a fraction", withRuleFields(`"max_streams": 1.5`), "rules[0].max_streams: found 1.5, want a whole number from 1 to 64"},
	{"max_streams too large for a double", withRuleFields(`"max_streams": 1e999`), "rules[0].max_streams: found 1e999, want a whole number from 1 to 64"},
	{"max_streams with 1000 digits", withRuleFields(`"max_streams": ` + strings.Repeat("9", 1000)), "rules[0].max_streams: found " + strings.Repeat("9", 64) + "... (1000 bytes), want a whole number from 1 to 64"},
	{"max_streams as a string", withRuleFields(`"max_streams": "1"`), `rules[0].max_streams: found "1", want a whole number from 1 to 64`},
	{"max_streams null", withRuleFields(`"max_streams": null`), "rules[0].max_streams: found null, want a whole number from 1 to 64"},

	{"on_duplicate unknown", withRuleFields(`"on_duplicate": "reset"`), `rules[0].on_duplicate: found "reset", want "reset_previous" or "reject_new"`},
	{"on_duplicate of the wrong type", withRuleFields(`"on_duplicate": true`), `rules[0].on_duplicate: found true, want "reset_previous" or "reject_new"`},
	{"claim_at unknown", withRuleFields(`"claim_at": "Request"`), `rules[0].claim_at: found "Request", want "response" or "request"`},
	{"claim_at of the wrong type", withRuleFields(`"claim_at": 1`), `rules[0].claim_at: found 1, want "response" or "request"`},
	{"mode unknown", withRuleFields(`"mode": "Observe"`), `rules[0].mode: found "Observe", want "enforce" or "observe"`},
	{"mode null", withRuleFields(`"mode": null`), `rules[0].mode: found null, want "enforce" or "observe"`},

	// The fleet.
	{"scope unknown", withRuleFields(`"scope": "Fleet"`), `rules[0].scope: found "Fleet", want "fleet" or "envoy"`},
	{"scope null", withRuleFields(`"scope": null, "on_unavailable": "refuse"`), `rules[0].scope: found null, want "fleet" or "envoy"`},
	{"scope without a fleet", withRuleFields(`"scope": "fleet", "on_unavailable": "refuse"`), `rules[0].scope: found "fleet", want "envoy": the configuration has no "fleet"`},
	{"on_unavailable unknown", withRuleFields(`"on_unavailable": "deny"`), `rules[0].on_unavailable: found "deny", want "allow" or "refuse"`},
	{"on_unavailable without a fleet", withRuleFields(`"on_unavailable": "refuse"`), `rules[0].on_unavailable: found "refuse", want "allow": the rule has scope "envoy", so it does not ask etcd`},
	{"on_unavailable with scope envoy", strings.Replace(withFleet(""), `"name"`, `"on_unavailable": "refuse", "scope": "envoy", "name"`, 1),
		`rules[0].on_unavailable: found "refuse", want "allow": the rule has scope "envoy", so it does not ask etcd`},
	{"fleet null", `{"rules": [{"name": "a", "client": [{"query": "q"}], "scope": "fleet", "on_unavailable": "refuse"}], "fleet": null}`, "fleet: found null, want an object"},
	{"fleet true", withFields(`"fleet": true`), "fleet: found true, want an object"},
	{"fleet empty", withFields(`"fleet": {}`), "fleet.clusters: missing, want 1 to 16 names\nfleet.secret: missing, want 32 hex digits"},
	{"fleet given twice", withFields(`"fleet": {"clusters": ["a"], "secret": "` + secret + `"}, "fleet": {}`), "fleet: found more than once, want it once"},
	{"fleet unknown", withFleet(`, "ttl": "5s"`), `fleet: unknown field "ttl", want "clusters", "secret", "prefix", "lease_ttl" or "timeout"`},
	{"clusters as a string", withFields(`"fleet": {"clusters": "etcd", "secret": "` + secret + `"}`), `fleet.clusters: found "etcd", want a list`},
	{"clusters empty", withFields(`"fleet": {"clusters": [], "secret": "` + secret + `"}`), "fleet.clusters: found 0 items, want 1 to 16"},
	{"cluster empty", withFields(`"fleet": {"clusters": ["", "", 1], "secret": "` + secret + `"}`), `fleet.clusters[0]: found "", want the name of a cluster of Envoy` + "\n" +
		`fleet.clusters[1]: found "", want the name of a cluster of Envoy` + "\nfleet.clusters[2]: found 1, want the name of a cluster of Envoy"},
	{"cluster twice", withFields(`"fleet": {"clusters": ["a", "b", "a"], "secret": "` + secret + `"}`), `fleet.clusters[2]: "a" is already fleet.clusters[0], want each once`},
	{"too many clusters", withFields(`"fleet": {"secret": "` + secret + `", "clusters": ["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"]}`), "fleet.clusters: found 17 items, want 1 to 16"},
	{"secret too short", withFields(`"fleet": {"clusters": ["a"], "secret": "00"}`), "fleet.secret: found a string of 2 bytes, want 32 hex digits"},
	{"secret too long", withFields(`"fleet": {"clusters": ["a"], "secret": "` + secret + `0"}`), "fleet.secret: found a string of 33 bytes, want 32 hex digits"},
	{"secret not hex", withFields(`"fleet": {"clusters": ["a"], "secret": "` + secret[:31] + `g"}`), "fleet.secret: found other characters, want 32 hex digits"},
	{"secret a number", withFields(`"fleet": {"clusters": ["a"], "secret": 11112222333344445555666677778888}`), "fleet.secret: found a number, want 32 hex digits"},
	{"secret null", withFields(`"fleet": {"clusters": ["a"], "secret": null}`), "fleet.secret: found null, want 32 hex digits"},
	{"prefix empty", withFleet(`, "prefix": ""`), `fleet.prefix: found "", ` + wantPrefix},
	{"prefix of the wrong type", withFleet(`, "prefix": 1`), `fleet.prefix: found 1, ` + wantPrefix},
	{"prefix with a slash first", withFleet(`, "prefix": "/a"`), `fleet.prefix: found "/a", ` + wantPrefix},
	{"prefix with a slash last", withFleet(`, "prefix": "a/"`), `fleet.prefix: found "a/", ` + wantPrefix},
	{"prefix with a space", withFleet(`, "prefix": "a b"`), `fleet.prefix: found "a b", ` + wantPrefix},
	{"prefix with an umlaut", withFleet(`, "prefix": "ä"`), `fleet.prefix: found "ä", ` + wantPrefix},
	{"prefix with an at sign", withFleet(`, "prefix": "a@b"`), `fleet.prefix: found "a@b", ` + wantPrefix},
	{"prefix too long", withFleet(`, "prefix": "` + strings.Repeat("a", 65) + `"`), `fleet.prefix: found "` + strings.Repeat("a", 64) + `"... (65 bytes), ` + wantPrefix},
	{"lease_ttl too short", withFleet(`, "lease_ttl": "4s"`), `fleet.lease_ttl: found "4s", want a duration such as "30s", from 5s to 1m`},
	{"lease_ttl too long", withFleet(`, "lease_ttl": "61s"`), `fleet.lease_ttl: found "61s", want a duration such as "30s", from 5s to 1m`},
	{"lease_ttl with a fraction", withFleet(`, "lease_ttl": "5.5s"`), `fleet.lease_ttl: found "5.5s", want a whole number of seconds`},
	{"lease_ttl with a small fraction", withFleet(`, "lease_ttl": "5.0005s"`), `fleet.lease_ttl: found "5.0005s", want a whole number of milliseconds`},
	{"lease_ttl a number", withFleet(`, "lease_ttl": 10`), `fleet.lease_ttl: found 10, want a duration such as "30s", from 5s to 1m`},
	{"timeout too short", withFleet(`, "timeout": "9ms"`), `fleet.timeout: found "9ms", want a duration such as "30s", from 10ms to 5s`},
	{"timeout too long", withFleet(`, "timeout": "5001ms"`), `fleet.timeout: found "5001ms", want a duration such as "30s", from 10ms to 5s`},
	{"timeout zero", withFleet(`, "timeout": "0s"`), `fleet.timeout: found "0s", want a duration such as "30s", from 10ms to 5s`},

	// The takeover limit.
	{"takeover_limit true", withRuleFields(`"takeover_limit": true`), "rules[0].takeover_limit: found true, want an object or false"},
	{"takeover_limit null", withRuleFields(`"takeover_limit": null`), "rules[0].takeover_limit: found null, want an object or false"},
	{"takeover_limit a number", withRuleFields(`"takeover_limit": 0`), "rules[0].takeover_limit: found 0, want an object or false"},
	{"takeover_limit unknown", withRuleFields(`"takeover_limit": {"tokens": 1}`), `rules[0].takeover_limit: unknown field "tokens", want "max_tokens", "tokens_per_fill" or "fill_interval"`},
	{"takeover_limit given twice", withRuleFields(`"takeover_limit": false, "takeover_limit": {}`), "rules[0].takeover_limit: found more than once, want it once"},
	{"max_tokens zero", withRuleFields(`"takeover_limit": {"max_tokens": 0}`), "rules[0].takeover_limit.max_tokens: found 0, want a whole number from 1 to 10000"},
	{"max_tokens too large", withRuleFields(`"takeover_limit": {"max_tokens": 10001}`), "rules[0].takeover_limit.max_tokens: found 10001, want a whole number from 1 to 10000"},
	{"tokens_per_fill zero", withRuleFields(`"takeover_limit": {"tokens_per_fill": 0}`), "rules[0].takeover_limit.tokens_per_fill: found 0, want a whole number from 1 to 10000"},
	{"tokens_per_fill too large", withRuleFields(`"takeover_limit": {"tokens_per_fill": 10001}`), "rules[0].takeover_limit.tokens_per_fill: found 10001, want a whole number from 1 to 10000"},
	{"fill_interval zero", withRuleFields(`"takeover_limit": {"fill_interval": "0s"}`), `rules[0].takeover_limit.fill_interval: found "0s", want a duration such as "30s", from 100ms to 24h`},
	{"fill_interval too short", withRuleFields(`"takeover_limit": {"fill_interval": "99ms"}`), `rules[0].takeover_limit.fill_interval: found "99ms", want a duration such as "30s", from 100ms to 24h`},
	{"fill_interval too long", withRuleFields(`"takeover_limit": {"fill_interval": "24h0m0.001s"}`), `rules[0].takeover_limit.fill_interval: found "24h0m0.001s", want a duration such as "30s", from 100ms to 24h`},

	// Durations.
	{"retry a number", withRuleFields(`"retry": 15`), `rules[0].retry: found 15, want a duration such as "30s", from 100ms to 24h`},
	{"retry without a unit", withRuleFields(`"retry": "15"`), `rules[0].retry: found "15", want a duration such as "30s", from 100ms to 24h`},
	{"retry empty", withRuleFields(`"retry": ""`), `rules[0].retry: found "", want a duration such as "30s", from 100ms to 24h`},
	{"retry with a space", withRuleFields(`"retry": "15 s"`), `rules[0].retry: found "15 s", want a duration such as "30s", from 100ms to 24h`},
	{"retry in capitals", withRuleFields(`"retry": "15S"`), `rules[0].retry: found "15S", want a duration such as "30s", from 100ms to 24h`},
	{"retry in days", withRuleFields(`"retry": "1d"`), `rules[0].retry: found "1d", want a duration such as "30s", from 100ms to 24h`},
	{"retry an object", withRuleFields(`"retry": {"seconds": 15}`), `rules[0].retry: found an object, want a duration such as "30s", from 100ms to 24h`},
	{"retry negative", withRuleFields(`"retry": "-1s"`), `rules[0].retry: found "-1s", want a duration such as "30s", from 100ms to 24h`},
	{"retry zero", withRuleFields(`"retry": "0s"`), `rules[0].retry: found "0s", want a duration such as "30s", from 100ms to 24h`},
	{"retry too short", withRuleFields(`"retry": "99ms"`), `rules[0].retry: found "99ms", want a duration such as "30s", from 100ms to 24h`},
	{"retry too long", withRuleFields(`"retry": "86401s"`), `rules[0].retry: found "86401s", want a duration such as "30s", from 100ms to 24h`},
	{"retry past Go's", withRuleFields(`"retry": "9999999h"`), `rules[0].retry: found "9999999h", want a duration such as "30s", from 100ms to 24h`},
	{"retry long", withRuleFields(`"retry": "` + strings.Repeat("9", 1000) + `"`), `rules[0].retry: found "` + strings.Repeat("9", 64) + `"... (1000 bytes), want a duration such as "30s", from 100ms to 24h`},
	{"retry finer than milliseconds", withRuleFields(`"retry": "100.5ms"`), `rules[0].retry: found "100.5ms", want a whole number of milliseconds`},
	{"goodbye_grace negative", withRuleFields(`"goodbye_grace": "-1ms"`), `rules[0].goodbye_grace: found "-1ms", want a duration such as "30s", from 0s to 1m`},
	{"goodbye_grace too long", withRuleFields(`"goodbye_grace": "61s"`), `rules[0].goodbye_grace: found "61s", want a duration such as "30s", from 0s to 1m`},
	{"goodbye_grace finer than milliseconds", withRuleFields(`"goodbye_grace": "1ns"`), `rules[0].goodbye_grace: found "1ns", want a whole number of milliseconds`},
	{"goodbye_grace the number zero", withRuleFields(`"goodbye_grace": 0`), `rules[0].goodbye_grace: found 0, want a duration such as "30s", from 0s to 1m`},
	{"max_lifetime the number zero", withRuleFields(`"max_lifetime": 0`), `rules[0].max_lifetime: found 0, want "0s" or a duration such as "30s", from 1s to 8760h`},
	{"max_lifetime too short", withRuleFields(`"max_lifetime": "999ms"`), `rules[0].max_lifetime: found "999ms", want "0s" or a duration such as "30s", from 1s to 8760h`},
	{"max_lifetime too long", withRuleFields(`"max_lifetime": "8761h"`), `rules[0].max_lifetime: found "8761h", want "0s" or a duration such as "30s", from 1s to 8760h`},
	{"max_lifetime false", withRuleFields(`"max_lifetime": false`), `rules[0].max_lifetime: found false, want "0s" or a duration such as "30s", from 1s to 8760h`},
	{"max_lifetime finer than milliseconds", withRuleFields(`"max_lifetime": "1.0001s"`), `rules[0].max_lifetime: found "1.0001s", want a whole number of milliseconds`},
	{"idle_timeout too short", withRuleFields(`"idle_timeout": "1ms"`), `rules[0].idle_timeout: found "1ms", want "0s" or a duration such as "30s", from 1s to 8760h`},
	{"idle_timeout too long", withRuleFields(`"idle_timeout": "8760h1s"`), `rules[0].idle_timeout: found "8760h1s", want "0s" or a duration such as "30s", from 1s to 8760h`},
	{"idle_timeout null", withRuleFields(`"idle_timeout": null`), `rules[0].idle_timeout: found null, want "0s" or a duration such as "30s", from 1s to 8760h`},
	{"lifetime_jitter_percent negative", withRuleFields(`"lifetime_jitter_percent": -1`), "rules[0].lifetime_jitter_percent: found -1, want a whole number from 0 to 100"},
	{"lifetime_jitter_percent too large", withRuleFields(`"lifetime_jitter_percent": 101`), "rules[0].lifetime_jitter_percent: found 101, want a whole number from 0 to 100"},
	{"lifetime_jitter_percent as a string", withRuleFields(`"lifetime_jitter_percent": "10%"`), `rules[0].lifetime_jitter_percent: found "10%", want a whole number from 0 to 100`},

	// Sources.
	{"client missing", `{"rules": [{"name": "a"}]}`, "rules[0].client: missing, want 1 to 8 sources"},
	{"client null", withClient(`null`), "rules[0].client: found null, want a list"},
	{"client not a list", withClient(`{"header": "a"}`), "rules[0].client: found an object, want a list"},
	{"client empty", withClient(`[]`), "rules[0].client: found 0 items, want 1 to 8"},
	{"client with too many sources", withClient(`[` + eightSources + `, {"query": ""}]`), "rules[0].client: found 9 items, want 1 to 8"},
	{"source twice", withClient(`[{"query": "a"}, {"header": "a"}, {"query": "a"}, {"source_address": true}, {"source_address": true}, {"query": ""}, {"query": ""}]`),
		"rules[0].client[2]: is the same source as rules[0].client[0], want each once\n" +
			"rules[0].client[4]: is the same source as rules[0].client[3], want each once\n" +
			`rules[0].client[5].query: found "", want the name of a query parameter` + "\n" + `rules[0].client[6].query: found "", want the name of a query parameter`},
	{"source not an object", withClient(`["x-client-id"]`), `rules[0].client[0]: found "x-client-id", want an object`},
	{"source empty", withClient(`[{}]`), `rules[0].client[0]: found none, want exactly one of ` + knownInSource},
	{"source of two kinds", withClient(`[{"query": "b", "header": "a"}]`), `rules[0].client[0]: found 2 (header, query), want exactly one of ` + knownInSource},
	{"source unknown", withClient(`[{"query": "a"}, {"jwt": {"claim": "sub"}}]`), `rules[0].client[1]: unknown field "jwt", want ` + knownInSource},
	{"source of three kinds", withClient(`[{"jwt_claim": {"claim": "sub", "metadata_key": "p"}, "property": ["a"], "source_address": true}]`),
		`rules[0].client[0]: found 3 (jwt_claim, property, source_address), want exactly one of ` + knownInSource},
	{"source given twice", withClient(`[{"query": "a", "query": "b"}]`), "rules[0].client[0].query: found more than once, want it once"},
	{"header name empty", withClient(`[{"header": ""}]`), `rules[0].client[0].header: found "", want the name of a header, such as "x-client-id"`},
	{"header name with a space", withClient(`[{"header": "x id"}]`), `rules[0].client[0].header: found "x id", want the name of a header, such as "x-client-id"`},
	{"header name not ASCII", withClient(`[{"header": "x-é"}]`), `rules[0].client[0].header: found "x-é", want the name of a header, such as "x-client-id"`},
	{"pseudo header unknown", withClient(`[{"header": ":status"}]`), `rules[0].client[0].header: found ":status", want the name of a header, such as "x-client-id"`},
	{"header name false", withClient(`[{"header": false}]`), `rules[0].client[0].header: found false, want the name of a header, such as "x-client-id"`},
	{"cookie name", withClient(`[{"header": "a"}, {"cookie": "a=b"}]`), `rules[0].client[1].cookie: found "a=b", want the name of a cookie, such as "session"`},
	{"query name", withClient(`[{"query": ""}]`), `rules[0].client[0].query: found "", want the name of a query parameter`},

	{"claim as a string", withClient(`[{"jwt_claim": "sub"}]`), `rules[0].client[0].jwt_claim: found "sub", want an object`},
	{"claim empty", withClient(`[{"jwt_claim": {}}]`), "rules[0].client[0].jwt_claim.claim: missing, want the name of a claim\n" +
		"rules[0].client[0].jwt_claim.metadata_key: missing, want the payload_in_metadata of jwt_authn"},
	{"claim unknown", withClient(`[{"jwt_claim": {"claim": "sub", "metadata_key": "p", "key": "p"}}]`), `rules[0].client[0].jwt_claim: unknown field "key", want "claim" or "metadata_key"`},
	{"claim without a key", withClient(`[{"jwt_claim": {"claim": "sub"}}]`), "rules[0].client[0].jwt_claim.metadata_key: missing, want the payload_in_metadata of jwt_authn"},
	{"claim name empty", withClaim(`""`), `rules[0].client[0].jwt_claim.claim: found "", want the name of a claim, such as "sub", or a list of such names`},
	{"claim name with a zero byte", withClaim(`"a\u0000"`), `rules[0].client[0].jwt_claim.claim: found "a\x00", want the name of a claim, such as "sub", or a list of such names`},
	{"claim name a number", withClaim(`1`), `rules[0].client[0].jwt_claim.claim: found 1, want the name of a claim, such as "sub", or a list of such names`},
	{"claim name null", withClaim(`null`), `rules[0].client[0].jwt_claim.claim: found null, want the name of a claim, such as "sub", or a list of such names`},
	{"claim path empty", withClaim(`[]`), "rules[0].client[0].jwt_claim.claim: found 0 items, want 1 to 8"},
	{"claim path too long", withClaim(`["a", "b", "c", "d", "e", "f", "g", "h", ""]`), "rules[0].client[0].jwt_claim.claim: found 9 items, want 1 to 8"},
	{"claim path with an empty name", withClaim(`["org", ""]`), `rules[0].client[0].jwt_claim.claim[1]: found "", want the name of a claim, such as "sub"`},
	{"claim path with a list", withClaim(`[["org"]]`), `rules[0].client[0].jwt_claim.claim[0]: found a list, want the name of a claim, such as "sub"`},
	{"metadata_key empty", withClient(`[{"jwt_claim": {"claim": "sub", "metadata_key": ""}}]`), `rules[0].client[0].jwt_claim.metadata_key: found "", want the payload_in_metadata of jwt_authn`},
	{"metadata_key with a zero byte", withClient(`[{"jwt_claim": {"claim": "sub", "metadata_key": "\u0000"}}]`), `rules[0].client[0].jwt_claim.metadata_key: found "\x00", want the payload_in_metadata of jwt_authn`},
	{"metadata_key a list", withClient(`[{"jwt_claim": {"claim": "sub", "metadata_key": ["p"]}}]`), `rules[0].client[0].jwt_claim.metadata_key: found a list, want the payload_in_metadata of jwt_authn`},
	{"property as a string", withClient(`[{"property": "connection.id"}]`), `rules[0].client[0].property: found "connection.id", want a list`},
	{"property empty", withClient(`[{"property": []}]`), "rules[0].client[0].property: found 0 items, want 1 to 8"},
	{"property too long", withClient(`[{"property": ["a", "b", "c", "d", "e", "f", "g", "h", 1]}]`), "rules[0].client[0].property: found 9 items, want 1 to 8"},
	{"property with an empty part", withClient(`[{"property": ["connection", ""]}]`), `rules[0].client[0].property[1]: found "", want a part of a property's path, such as "connection"`},
	{"property with a zero byte", withClient(`[{"property": ["connection\u0000id"]}]`), `rules[0].client[0].property[0]: found "connection\x00id", want a part of a property's path, such as "connection"`},
	{"property with a number", withClient(`[{"property": ["filter_state", 1]}]`), `rules[0].client[0].property[1]: found 1, want a part of a property's path, such as "connection"`},
	{"source_address false", withClient(`[{"source_address": false}]`), "rules[0].client[0].source_address: found false, want true"},
	{"source_address as a string", withClient(`[{"source_address": "true"}]`), `rules[0].client[0].source_address: found "true", want true`},
	{"instance null", withRuleFields(`"instance": null`), "rules[0].instance: found null, want a list"},
	{"instance empty", withRuleFields(`"instance": []`), "rules[0].instance: found 0 items, want 1 to 8"},
	{"instance too long", withRuleFields(`"instance": [` + eightSources + `, {"query": ""}]`), "rules[0].instance: found 9 items, want 1 to 8"},
	{"instance unknown", withRuleFields(`"instance": [{"tab": "a"}]`), `rules[0].instance[0]: unknown field "tab", want ` + knownInSource},
	{"instance name", withRuleFields(`"instance": [{"query": "a"}, {"cookie": ""}]`), `rules[0].instance[1].cookie: found "", want the name of a cookie, such as "session"`},

	// The match.
	{"match null", withRuleFields(`"match": null`), "rules[0].match: found null, want an object"},
	{"match unknown", withRuleFields(`"match": {"host": "a"}`), `rules[0].match: unknown field "host", want "path", "methods" or "headers"`},
	{"match given twice", withRuleFields(`"match": {"methods": ["GET"], "methods": ["GET"]}`), "rules[0].match.methods: found more than once, want it once"},
	{"path as a string", withRuleFields(`"match": {"path": "/a"}`), `rules[0].match.path: found "/a", want an object`},
	{"path empty", withRuleFields(`"match": {"path": {}}`), `rules[0].match.path: found none, want exactly one of "exact", "prefix" or "regex"`},
	{"path with two conditions", withRuleFields(`"match": {"path": {"exact": "/a", "prefix": "/a"}}`), `rules[0].match.path: found 2 (exact, prefix), want exactly one of "exact", "prefix" or "regex"`},
	{"path given twice", withRuleFields(`"match": {"path": {"exact": "/a", "exact": "/a"}}`), "rules[0].match.path.exact: found more than once, want it once"},
	{"path unknown", withRuleFields(`"match": {"path": {"suffix": "/a"}}`), `rules[0].match.path: unknown field "suffix", want "exact", "prefix" or "regex"`},
	{"path without a slash", withRuleFields(`"match": {"path": {"prefix": "events"}}`), `rules[0].match.path.prefix: found "events", want a path that begins with "/" and has no query and no fragment`},
	{"path with a query", withRuleFields(`"match": {"path": {"exact": "/a?b"}}`), `rules[0].match.path.exact: found "/a?b", want a path that begins with "/" and has no query and no fragment`},
	{"path regex bad", withRuleFields(`"match": {"path": {"regex": "/a("}}`), `rules[0].match.path.regex: found "/a(", want an RE2 expression: missing closing )`},
	{"path regex empty", withRuleFields(`"match": {"path": {"regex": ""}}`), `rules[0].match.path.regex: found "", want an RE2 expression`},
	{"path regex of the wrong type", withRuleFields(`"match": {"path": {"regex": {"regex": "a"}}}`), "rules[0].match.path.regex: found an object, want an RE2 expression"},
	{"methods as a string", withRuleFields(`"match": {"methods": "GET"}`), `rules[0].match.methods: found "GET", want a list`},
	{"methods empty", withRuleFields(`"match": {"methods": []}`), "rules[0].match.methods: found 0 items, want 1 to 16"},
	{"method in lower case", withRuleFields(`"match": {"methods": ["GET", "post"]}`), `rules[0].match.methods[1]: found "post", want a method in upper case, such as "GET"`},
	{"method with a space", withRuleFields(`"match": {"methods": ["GET /"]}`), `rules[0].match.methods[0]: found "GET /", want a method in upper case, such as "GET"`},
	{"headers empty", withRuleFields(`"match": {"headers": []}`), "rules[0].match.headers: found 0 items, want 1 to 16"},
	{"header empty", withRuleFields(`"match": {"headers": [{}]}`), "rules[0].match.headers[0].name: missing, want the name of a header\n" +
		`rules[0].match.headers[0]: found none, want exactly one of "exact", "prefix", "contains", "regex" or "present"`},
	{"header without a condition", withRuleFields(`"match": {"headers": [{"name": "accept"}]}`), `rules[0].match.headers[0]: found none, want exactly one of "exact", "prefix", "contains", "regex" or "present"`},
	{"header with two conditions", withRuleFields(`"match": {"headers": [{"name": "accept", "present": true, "exact": "a"}]}`), `rules[0].match.headers[0]: found 2 (exact, present), want exactly one of "exact", "prefix", "contains", "regex" or "present"`},
	{"header given twice", withRuleFields(`"match": {"headers": [{"name": "accept", "exact": "a", "name": "b"}]}`), "rules[0].match.headers[0].name: found more than once, want it once"},
	{"header condition in other case", withRuleFields(`"match": {"headers": [{"name": "accept", "Exact": "a"}]}`), `rules[0].match.headers[0]: unknown field "Exact", did you mean "exact"`},
	{"header name is the path", withRuleFields(`"match": {"headers": [{"name": ":path", "exact": "/"}]}`), `rules[0].match.headers[0].name: found ":path", want the name of a header, such as "accept"; for the path and the method use "path" and "methods"`},
	{"header value empty", withRuleFields(`"match": {"headers": [{"name": "accept", "contains": ""}]}`), `rules[0].match.headers[0].contains: found "", want a string that is not empty`},
	{"header value of the wrong type", withRuleFields(`"match": {"headers": [{"name": "accept", "prefix": ["a"]}]}`), "rules[0].match.headers[0].prefix: found a list, want a string that is not empty"},
	{"header regex invalid", withRuleFields(`"match": {"headers": [{"name": "accept", "regex": "a("}]}`), `rules[0].match.headers[0].regex: found "a(", want an RE2 expression: missing closing )`},
	{"header regex empty", withRuleFields(`"match": {"headers": [{"name": "accept", "regex": ""}]}`), `rules[0].match.headers[0].regex: found "", want an RE2 expression`},
	{"header present as a string", withRuleFields(`"match": {"headers": [{"name": "accept", "present": "true"}]}`), `rules[0].match.headers[0].present: found "true", want true or false`},

	// Several faults.
	{"faults in the order of the document", `{"rules": [{"mode": 1, "max_streams": 0, "client": [{"cookie": ""}], "x": 1, "name": ""}], "y": 1}`,
		`rules[0].mode: found 1, want "enforce" or "observe"` + "\n" +
			"rules[0].max_streams: found 0, want a whole number from 1 to 64\n" +
			`rules[0].client[0].cookie: found "", want the name of a cookie, such as "session"` + "\n" +
			`rules[0]: unknown field "x", want ` + knownInRule + "\n" +
			`rules[0].name: found "", want [a-z][a-z0-9_]{0,31}` + "\n" +
			`configuration: unknown field "y", want ` + knownInConfig},
}

// withName returns a valid configuration, except that this is the name of its rule.
func withName(name string) string {
	return `{"rules": [{"name": "` + name + `", "client": [{"query": "a"}]}]}`
}

// withClaim returns a valid configuration, except that this is the claim of its client.
func withClaim(name string) string {
	return withClient(`[{"jwt_claim": {"claim": ` + name + `, "metadata_key": "p"}}]`)
}

// emptyRule returns the faults of an empty rule.
func emptyRule(i int) string {
	return fmt.Sprintf("rules[%d].name: missing, want [a-z][a-z0-9_]{0,31}, unique\nrules[%d].client: missing, want 1 to 8 sources", i, i)
}

func TestFaults(t *testing.T) {
	for _, test := range faultTable {
		t.Run(test.about, func(t *testing.T) {
			c, err := config.Parse([]byte(test.config))
			if err == nil {
				t.Fatalf("no error for %s", test.config)
			}
			if c != nil {
				t.Errorf("got the configuration %v and the error %v, want only the error", c, err)
			}
			if got := err.Error(); got != test.want {
				t.Errorf("%s\n got %s\nwant %s", test.config, got, test.want)
			}
		})
	}
}

// The first 20 faults are reported, the others counted. Here 65 rules are one too many, and the
// first 64 lack two fields each.
func TestFaultsAfterTheLimitAreCounted(t *testing.T) {
	want := []string{"rules: found 65 items, want 1 to 64"}
	for i := range 9 {
		want = append(want, emptyRule(i))
	}
	want = append(want, "rules[9].name: missing, want [a-z][a-z0-9_]{0,31}, unique", "and 109 more faults")
	_, err := config.Parse([]byte(`{"rules": [` + strings.Repeat(`{}, `, 64) + `{}]}`))
	if got := fmt.Sprint(err); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// The error is short for any configuration.
func TestFaultsAreBounded(t *testing.T) {
	const many = 20_000
	var unique strings.Builder
	for i := range many {
		fmt.Fprintf(&unique, `"k%d": 1, `, i)
	}
	for about, text := range map[string]string{
		"unknown fields":      `{` + unique.String() + `"rules": []}`,
		"unknown rule fields": withRuleFields(unique.String() + `"mode": "observe"`),
		"long duration":       withRuleFields(`"retry": "` + strings.Repeat("1h", many) + `x"`),
		"long path":           withClient(`[{"property": [` + strings.Repeat(`1, `, many) + `1]}]`),
		"repeated fields":     withRuleFields(strings.Repeat(`"mode": "x", `, many) + `"mode": "x"`),
		"long key":            `{"` + strings.Repeat("k", many) + `": 1}`,
		"long regex":          withRuleFields(`"match": {"path": {"regex": "` + strings.Repeat("(", many) + `"}}`),
		"large regex":         withRuleFields(`"match": {"path": {"regex": "((((a{100}){100}){100}){100}){100}"}}`),
		"rules":               `{"rules": [` + strings.Repeat(`{},`, many) + `{}]}`,
		"depth":               strings.Repeat("[", 20*many),
		"closed depth":        strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
	} {
		_, err := config.Parse([]byte(text))
		if err == nil {
			t.Errorf("%s: no error", about)
			continue
		}
		if got := err.Error(); len(got) > 8<<10 || strings.Count(got, "\n") > 20 {
			t.Errorf("%s: the error has %d bytes and %d lines, want at most 8192 and 21", about, len(got), strings.Count(got, "\n")+1)
		}
	}
}
