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

// beside is a valid configuration with these fields next to the rules.
func beside(fields string) string {
	return `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}]}], ` + fields + `}`
}

// What a fault lists when it does not know a field.
const (
	allOfConfig = `"rules", "max_total_streams", "on_contention" or "admin_path"`
	allOfRule   = `"name", "match", "client", "instance", "max_streams", "on_duplicate", "claim_at", "takeover_limit", "retry", ` +
		`"goodbye_grace", "max_lifetime", "lifetime_jitter_percent", "idle_timeout" or "mode"`
	allOfSource = `"header", "cookie", "query", "jwt_claim", "property" or "source_address"`

	adminPath = `want "" or a path as "/streamlatch" without query, fragment, "%", spaces and a "/" at the end`
)

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
	{"unknown field", `{"rules": [], "admin": ""}`, "rules: found 0 items, want 1 to 64\n" +
		`configuration: unknown field "admin", want ` + allOfConfig},
	{"other case", `{"Rules": []}`, `configuration: unknown field "Rules", did you mean "rules"`},
	{"given twice", `{"rules": [], "rules": null}`, "rules: found 0 items, want 1 to 64\nrules: given more than once"},
	{"not a list", `{"rules": {}}`, "rules: found an object, want a list"},
	{"rules missing", `{"rules": null}`, "rules: found null, want a list"},
	{"rules and admin_path missing", `{"on_contention": "allow"}`, "rules: missing, want 1 to 64 rules"},
	{"rules missing beside an admin_path", `{"admin_path": "/a"}`, "rules: missing, want 1 to 64 rules"},
	{"rules empty beside no admin_path", `{"rules": [], "admin_path": ""}`, "rules: found 0 items, want 1 to 64"},
	{"rules empty after no admin_path", `{"admin_path": "", "rules": []}`, "rules: found 0 items, want 1 to 64"},
	{"rules empty beside a faulty admin_path", `{"rules": [], "admin_path": "a"}`, `admin_path: found "a", ` + adminPath},
	{"rules empty beside no text as admin_path", `{"rules": [], "admin_path": true}`, `admin_path: found true, ` + adminPath},
	{"rules empty beside two admin_paths", `{"rules": [], "admin_path": "", "admin_path": "/a"}`, "rules: found 0 items, want 1 to 64\nadmin_path: given more than once"},

	{"max_total_streams negative", beside(`"max_total_streams": -1`), "max_total_streams: found -1, want a whole number from 0 to 10000000"},
	{"max_total_streams too large", beside(`"max_total_streams": 10000001`), "max_total_streams: found 10000001, want a whole number from 0 to 10000000"},
	{"max_total_streams false", beside(`"max_total_streams": false`), "max_total_streams: found false, want a whole number from 0 to 10000000"},
	{"on_contention unknown", beside(`"on_contention": "deny"`), `on_contention: "deny" is not supported, want "allow" or "refuse"`},
	{"on_contention of the wrong type", beside(`"on_contention": true`), `on_contention: found true, want "allow" or "refuse"`},
	{"admin_path null", beside(`"admin_path": null`), `admin_path: found null, ` + adminPath},
	{"admin_path without a slash", beside(`"admin_path": "admin"`), `admin_path: found "admin", ` + adminPath},
	{"admin_path is everything", beside(`"admin_path": "/"`), `admin_path: found "/", ` + adminPath},
	{"admin_path with a slash at the end", beside(`"admin_path": "/a/"`), `admin_path: found "/a/", ` + adminPath},
	{"admin_path with a query", beside(`"admin_path": "/a?b"`), `admin_path: found "/a?b", ` + adminPath},
	{"admin_path with a fragment", beside(`"admin_path": "/a#b"`), `admin_path: found "/a#b", ` + adminPath},
	{"admin_path escaped", beside(`"admin_path": "/a%20b"`), `admin_path: found "/a%20b", ` + adminPath},
	{"admin_path with a space", beside(`"admin_path": "/a b"`), `admin_path: found "/a b", ` + adminPath},
	{"admin_path with a line feed", beside(`"admin_path": "/a\nb"`), `admin_path: found "/a\nb", ` + adminPath},
	{"admin_path with a delete character", beside(`"admin_path": "/a\u007f"`), `admin_path: found "/a\x7f", ` + adminPath},

	// A rule.
	{"rule is not an object", `{"rules": ["events"]}`, `rules[0]: found "events", want an object`},
	{"empty rule", `{"rules": [{}]}`, emptyRule(0)},
	{"unknown rule field", with(`"retries": "15s"`), `rules[0]: unknown field "retries", want ` + allOfRule},
	{"unknown rule field, not printable", with(`"a\nb": 1`), `rules[0]: unknown field "a\nb", want ` + allOfRule},
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

	{"on_duplicate unknown", with(`"on_duplicate": "reset"`), `rules[0].on_duplicate: "reset" is not supported, want "reset_previous" or "reject_new"`},
	{"on_duplicate of the wrong type", with(`"on_duplicate": true`), `rules[0].on_duplicate: found true, want "reset_previous" or "reject_new"`},
	{"claim_at unknown", with(`"claim_at": "Request"`), `rules[0].claim_at: "Request" is not supported, want "response" or "request"`},
	{"claim_at of the wrong type", with(`"claim_at": 1`), `rules[0].claim_at: found 1, want "response" or "request"`},
	{"mode unknown", with(`"mode": "Observe"`), `rules[0].mode: "Observe" is not supported, want "enforce" or "observe"`},
	{"mode null", with(`"mode": null`), `rules[0].mode: found null, want "enforce" or "observe"`},

	// The bucket.
	{"takeover_limit true", with(`"takeover_limit": true`), "rules[0].takeover_limit: found true, want an object or false"},
	{"takeover_limit null", with(`"takeover_limit": null`), "rules[0].takeover_limit: found null, want an object or false"},
	{"takeover_limit a number", with(`"takeover_limit": 0`), "rules[0].takeover_limit: found 0, want an object or false"},
	{"takeover_limit unknown", with(`"takeover_limit": {"tokens": 1}`), `rules[0].takeover_limit: unknown field "tokens", want "max_tokens", "tokens_per_fill" or "fill_interval"`},
	{"takeover_limit given twice", with(`"takeover_limit": false, "takeover_limit": {}`), "rules[0].takeover_limit: given more than once"},
	{"max_tokens zero", with(`"takeover_limit": {"max_tokens": 0}`), "rules[0].takeover_limit.max_tokens: found 0, want a whole number from 1 to 10000"},
	{"max_tokens too large", with(`"takeover_limit": {"max_tokens": 10001}`), "rules[0].takeover_limit.max_tokens: found 10001, want a whole number from 1 to 10000"},
	{"tokens_per_fill zero", with(`"takeover_limit": {"tokens_per_fill": 0}`), "rules[0].takeover_limit.tokens_per_fill: found 0, want a whole number from 1 to 10000"},
	{"tokens_per_fill too large", with(`"takeover_limit": {"tokens_per_fill": 10001}`), "rules[0].takeover_limit.tokens_per_fill: found 10001, want a whole number from 1 to 10000"},
	{"fill_interval zero", with(`"takeover_limit": {"fill_interval": "0s"}`), `rules[0].takeover_limit.fill_interval: found "0s", want a duration as "30s" from 100ms to 24h`},
	{"fill_interval too short", with(`"takeover_limit": {"fill_interval": "99ms"}`), `rules[0].takeover_limit.fill_interval: found "99ms", want a duration as "30s" from 100ms to 24h`},
	{"fill_interval too long", with(`"takeover_limit": {"fill_interval": "24h0m0.001s"}`), `rules[0].takeover_limit.fill_interval: found "24h0m0.001s", want a duration as "30s" from 100ms to 24h`},

	// Durations.
	{"retry a number", with(`"retry": 15`), `rules[0].retry: found 15, want a duration as "30s" from 100ms to 24h`},
	{"retry without a unit", with(`"retry": "15"`), `rules[0].retry: found "15", want a duration as "30s" from 100ms to 24h`},
	{"retry empty", with(`"retry": ""`), `rules[0].retry: found "", want a duration as "30s" from 100ms to 24h`},
	{"retry with a space", with(`"retry": "15 s"`), `rules[0].retry: found "15 s", want a duration as "30s" from 100ms to 24h`},
	{"retry in capitals", with(`"retry": "15S"`), `rules[0].retry: found "15S", want a duration as "30s" from 100ms to 24h`},
	{"retry in days", with(`"retry": "1d"`), `rules[0].retry: found "1d", want a duration as "30s" from 100ms to 24h`},
	{"retry an object", with(`"retry": {"seconds": 15}`), `rules[0].retry: found an object, want a duration as "30s" from 100ms to 24h`},
	{"retry negative", with(`"retry": "-1s"`), `rules[0].retry: found "-1s", want a duration as "30s" from 100ms to 24h`},
	{"retry zero", with(`"retry": "0s"`), `rules[0].retry: found "0s", want a duration as "30s" from 100ms to 24h`},
	{"retry too short", with(`"retry": "99ms"`), `rules[0].retry: found "99ms", want a duration as "30s" from 100ms to 24h`},
	{"retry too long", with(`"retry": "86401s"`), `rules[0].retry: found "86401s", want a duration as "30s" from 100ms to 24h`},
	{"retry past Go's", with(`"retry": "9999999h"`), `rules[0].retry: found "9999999h", want a duration as "30s" from 100ms to 24h`},
	{"retry long", with(`"retry": "` + strings.Repeat("9", 1000) + `"`), `rules[0].retry: found "` + strings.Repeat("9", 64) + `"... (1000 bytes), want a duration as "30s" from 100ms to 24h`},
	{"retry finer than milliseconds", with(`"retry": "100.5ms"`), `rules[0].retry: found "100.5ms", want whole milliseconds`},
	{"goodbye_grace negative", with(`"goodbye_grace": "-1ms"`), `rules[0].goodbye_grace: found "-1ms", want a duration as "30s" from 0s to 1m`},
	{"goodbye_grace too long", with(`"goodbye_grace": "61s"`), `rules[0].goodbye_grace: found "61s", want a duration as "30s" from 0s to 1m`},
	{"goodbye_grace finer than milliseconds", with(`"goodbye_grace": "1ns"`), `rules[0].goodbye_grace: found "1ns", want whole milliseconds`},
	{"goodbye_grace the number zero", with(`"goodbye_grace": 0`), `rules[0].goodbye_grace: found 0, want a duration as "30s" from 0s to 1m`},
	{"max_lifetime the number zero", with(`"max_lifetime": 0`), `rules[0].max_lifetime: found 0, want a duration as "30s" from 1s to 8760h or "0s"`},
	{"max_lifetime too short", with(`"max_lifetime": "999ms"`), `rules[0].max_lifetime: found "999ms", want a duration as "30s" from 1s to 8760h or "0s"`},
	{"max_lifetime too long", with(`"max_lifetime": "8761h"`), `rules[0].max_lifetime: found "8761h", want a duration as "30s" from 1s to 8760h or "0s"`},
	{"max_lifetime false", with(`"max_lifetime": false`), `rules[0].max_lifetime: found false, want a duration as "30s" from 1s to 8760h or "0s"`},
	{"max_lifetime finer than milliseconds", with(`"max_lifetime": "1.0001s"`), `rules[0].max_lifetime: found "1.0001s", want whole milliseconds`},
	{"idle_timeout too short", with(`"idle_timeout": "1ms"`), `rules[0].idle_timeout: found "1ms", want a duration as "30s" from 1s to 8760h or "0s"`},
	{"idle_timeout too long", with(`"idle_timeout": "8760h1s"`), `rules[0].idle_timeout: found "8760h1s", want a duration as "30s" from 1s to 8760h or "0s"`},
	{"idle_timeout null", with(`"idle_timeout": null`), `rules[0].idle_timeout: found null, want a duration as "30s" from 1s to 8760h or "0s"`},
	{"lifetime_jitter_percent negative", with(`"lifetime_jitter_percent": -1`), "rules[0].lifetime_jitter_percent: found -1, want a whole number from 0 to 100"},
	{"lifetime_jitter_percent too large", with(`"lifetime_jitter_percent": 101`), "rules[0].lifetime_jitter_percent: found 101, want a whole number from 0 to 100"},
	{"lifetime_jitter_percent as a string", with(`"lifetime_jitter_percent": "10%"`), `rules[0].lifetime_jitter_percent: found "10%", want a whole number from 0 to 100`},

	// The client and its instances.
	{"client missing", `{"rules": [{"name": "a"}]}`, "rules[0].client: missing, want 1 to 8 sources"},
	{"client null", from(`null`), "rules[0].client: found null, want a list"},
	{"client not a list", from(`{"header": "a"}`), "rules[0].client: found an object, want a list"},
	{"client empty", from(`[]`), "rules[0].client: found 0 items, want 1 to 8"},
	{"client too long", from(`[` + strings.Repeat(`{"query": "a"}, `, 8) + `{"query": ""}]`), "rules[0].client: found 9 items, want 1 to 8"},
	{"source not an object", from(`["x-client-id"]`), `rules[0].client[0]: found "x-client-id", want an object`},
	{"source empty", from(`[{}]`), `rules[0].client[0]: nothing given, want exactly one of ` + allOfSource},
	{"source of two kinds", from(`[{"query": "b", "header": "a"}]`), `rules[0].client[0]: 2 given (header, query), want exactly one of ` + allOfSource},
	{"source unknown", from(`[{"query": "a"}, {"jwt": {"claim": "sub"}}]`), `rules[0].client[1]: unknown field "jwt", want ` + allOfSource},
	{"sources of all kinds", from(`[{"jwt_claim": {"claim": "sub", "metadata_key": "p"}, "property": ["a"], "source_address": true}]`),
		`rules[0].client[0]: 3 given (jwt_claim, property, source_address), want exactly one of ` + allOfSource},
	{"source given twice", from(`[{"query": "a", "query": "b"}]`), "rules[0].client[0].query: given more than once"},
	{"header name empty", from(`[{"header": ""}]`), `rules[0].client[0].header: found "", want the name of a header, as "x-client-id"`},
	{"header name with a space", from(`[{"header": "x id"}]`), `rules[0].client[0].header: found "x id", want the name of a header, as "x-client-id"`},
	{"header name not ASCII", from(`[{"header": "x-é"}]`), `rules[0].client[0].header: found "x-é", want the name of a header, as "x-client-id"`},
	{"pseudo header unknown", from(`[{"header": ":status"}]`), `rules[0].client[0].header: found ":status", want the name of a header, as "x-client-id"`},
	{"header name false", from(`[{"header": false}]`), `rules[0].client[0].header: found false, want the name of a header, as "x-client-id"`},
	{"cookie name", from(`[{"header": "a"}, {"cookie": "a=b"}]`), `rules[0].client[1].cookie: found "a=b", want the name of a cookie, as "session"`},
	{"query name", from(`[{"query": ""}]`), `rules[0].client[0].query: found "", want the name of a query parameter`},

	{"claim as a string", from(`[{"jwt_claim": "sub"}]`), `rules[0].client[0].jwt_claim: found "sub", want an object`},
	{"claim of nothing", from(`[{"jwt_claim": {}}]`), "rules[0].client[0].jwt_claim.claim: missing, want the name of a claim\n" +
		"rules[0].client[0].jwt_claim.metadata_key: missing, want the payload_in_metadata of jwt_authn"},
	{"claim unknown", from(`[{"jwt_claim": {"claim": "sub", "metadata_key": "p", "key": "p"}}]`), `rules[0].client[0].jwt_claim: unknown field "key", want "claim" or "metadata_key"`},
	{"claim without a key", from(`[{"jwt_claim": {"claim": "sub"}}]`), "rules[0].client[0].jwt_claim.metadata_key: missing, want the payload_in_metadata of jwt_authn"},
	{"claim name empty", claim(`""`), `rules[0].client[0].jwt_claim.claim: found "", want the name of a claim, as "sub", or a list of such names`},
	{"claim name with a zero byte", claim(`"a\u0000"`), `rules[0].client[0].jwt_claim.claim: found "a\x00", want the name of a claim, as "sub", or a list of such names`},
	{"claim name a number", claim(`1`), `rules[0].client[0].jwt_claim.claim: found 1, want the name of a claim, as "sub", or a list of such names`},
	{"claim name null", claim(`null`), `rules[0].client[0].jwt_claim.claim: found null, want the name of a claim, as "sub", or a list of such names`},
	{"claim path empty", claim(`[]`), "rules[0].client[0].jwt_claim.claim: found 0 items, want 1 to 8"},
	{"claim path too long", claim(`["a", "b", "c", "d", "e", "f", "g", "h", ""]`), "rules[0].client[0].jwt_claim.claim: found 9 items, want 1 to 8"},
	{"claim path with an empty name", claim(`["org", ""]`), `rules[0].client[0].jwt_claim.claim[1]: found "", want the name of a claim, as "sub"`},
	{"claim path with a list", claim(`[["org"]]`), `rules[0].client[0].jwt_claim.claim[0]: found a list, want the name of a claim, as "sub"`},
	{"metadata_key empty", from(`[{"jwt_claim": {"claim": "sub", "metadata_key": ""}}]`), `rules[0].client[0].jwt_claim.metadata_key: found "", want the payload_in_metadata of jwt_authn`},
	{"metadata_key with a zero byte", from(`[{"jwt_claim": {"claim": "sub", "metadata_key": "\u0000"}}]`), `rules[0].client[0].jwt_claim.metadata_key: found "\x00", want the payload_in_metadata of jwt_authn`},
	{"metadata_key a list", from(`[{"jwt_claim": {"claim": "sub", "metadata_key": ["p"]}}]`), `rules[0].client[0].jwt_claim.metadata_key: found a list, want the payload_in_metadata of jwt_authn`},
	{"property as a string", from(`[{"property": "connection.id"}]`), `rules[0].client[0].property: found "connection.id", want a list`},
	{"property empty", from(`[{"property": []}]`), "rules[0].client[0].property: found 0 items, want 1 to 8"},
	{"property too long", from(`[{"property": ["a", "b", "c", "d", "e", "f", "g", "h", 1]}]`), "rules[0].client[0].property: found 9 items, want 1 to 8"},
	{"property with an empty part", from(`[{"property": ["connection", ""]}]`), `rules[0].client[0].property[1]: found "", want a part of the way to a property, as "connection"`},
	{"property with a zero byte", from(`[{"property": ["connection\u0000id"]}]`), `rules[0].client[0].property[0]: found "connection\x00id", want a part of the way to a property, as "connection"`},
	{"property with a number", from(`[{"property": ["filter_state", 1]}]`), `rules[0].client[0].property[1]: found 1, want a part of the way to a property, as "connection"`},
	{"source_address false", from(`[{"source_address": false}]`), "rules[0].client[0].source_address: found false, want true"},
	{"source_address as a string", from(`[{"source_address": "true"}]`), `rules[0].client[0].source_address: found "true", want true`},
	{"instance null", with(`"instance": null`), "rules[0].instance: found null, want a list"},
	{"instance empty", with(`"instance": []`), "rules[0].instance: found 0 items, want 1 to 8"},
	{"instance too long", with(`"instance": [` + strings.Repeat(`{"query": "a"}, `, 8) + `{"query": ""}]`), "rules[0].instance: found 9 items, want 1 to 8"},
	{"instance unknown", with(`"instance": [{"tab": "a"}]`), `rules[0].instance[0]: unknown field "tab", want ` + allOfSource},
	{"instance name", with(`"instance": [{"query": "a"}, {"cookie": ""}]`), `rules[0].instance[1].cookie: found "", want the name of a cookie, as "session"`},

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
			`rules[0]: unknown field "x", want ` + allOfRule + "\n" +
			`rules[0].name: found "", want [a-z][a-z0-9_]{0,31}` + "\n" +
			`configuration: unknown field "y", want ` + allOfConfig},
}

func named(name string) string {
	return `{"rules": [{"name": "` + name + `", "client": [{"query": "a"}]}]}`
}

func claim(name string) string {
	return from(`[{"jwt_claim": {"claim": ` + name + `, "metadata_key": "p"}}]`)
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
		"unknown fields":      `{` + unique.String() + `"rules": []}`,
		"unknown rule fields": with(unique.String() + `"mode": "observe"`),
		"long duration":       with(`"retry": "` + strings.Repeat("1h", many) + `x"`),
		"long path":           from(`[{"property": [` + strings.Repeat(`1, `, many) + `1]}]`),
		"repeated fields":     with(strings.Repeat(`"mode": "x", `, many) + `"mode": "x"`),
		"long key":            `{"` + strings.Repeat("k", many) + `": 1}`,
		"long regex":          with(`"match": {"path": {"regex": "` + strings.Repeat("(", many) + `"}}`),
		"large regex":         with(`"match": {"path": {"regex": "((((a{100}){100}){100}){100}){100}"}}`),
		"rules":               `{"rules": [` + strings.Repeat(`{},`, many) + `{}]}`,
		"depth":               strings.Repeat("[", 20*many),
		"closed depth":        strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
	} {
		_, err := config.Parse([]byte(text))
		if err == nil {
			t.Errorf("%s: accepted", about)
			continue
		}
		if got := err.Error(); len(got) > 8<<10 || strings.Count(got, "\n") > 20 {
			t.Errorf("%s: an error of %d bytes and %d lines", about, len(got), strings.Count(got, "\n")+1)
		}
	}
}
