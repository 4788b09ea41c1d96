package config_test

import (
	"encoding/hex"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// parse parses a configuration that must be valid.
func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := config.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}

// minimal is the smallest configuration.
const minimal = `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}]}]}`

// defaultRule returns a rule whose other fields have their defaults.
func defaultRule(name string, client identity.Sources) config.Rule {
	return config.Rule{
		Name:                  name,
		Client:                client,
		MaxStreams:            1,
		OnDuplicate:           config.ResetPrevious,
		ClaimAt:               config.AtResponse,
		TakeoverLimit:         policy.TokenBucket{MaxTokens: 5, TokensPerFill: 1, FillInterval: 30 * policy.Second},
		Retry:                 15 * policy.Second,
		LifetimeJitterPercent: 10,
		Mode:                  config.Enforce,
		Scope:                 config.EnvoyScope,
		OnUnavailable:         config.AllowUnavailable,
	}
}

// inFleet returns the rule as it is if the configuration has a fleet.
func inFleet(r config.Rule) config.Rule {
	r.Scope = config.FleetScope
	return r
}

// defaultFields is the end of a rule in Config.String if its fields have their defaults.
const defaultFields = `"max_streams":1,"on_duplicate":"reset_previous","claim_at":"response",` +
	`"takeover_limit":{"max_tokens":5,"tokens_per_fill":1,"fill_interval":"30s"},"retry":"15s",` +
	`"goodbye_grace":"0s","max_lifetime":"0s","lifetime_jitter_percent":10,"idle_timeout":"0s","mode":"enforce","scope":"envoy","on_unavailable":"allow"}`

// fleetFields is defaultFields of a rule in a fleet.
var fleetFields = strings.Replace(defaultFields, `"scope":"envoy"`, `"scope":"fleet"`, 1)

const secret = "000102030405060708090a0b0c0d0eff"

var hidden = regexp.MustCompile(`"secret":"hidden, check [0-9a-f]{8}"`)

// parseAgain parses the effective configuration, with the secret that it does not show.
func parseAgain(c *config.Config) (*config.Config, error) {
	line := c.String()
	if c.Fleet != nil {
		line = hidden.ReplaceAllLiteralString(line, `"secret":"`+hex.EncodeToString(c.Fleet.Secret[:])+`"`)
	}
	return config.Parse([]byte(line))
}

func TestDefaults(t *testing.T) {
	want := &config.Config{
		Rules:        []config.Rule{defaultRule("events", identity.Sources{{Kind: identity.Header, Name: "x-client-id"}})},
		OnContention: config.Allow,
	}
	c := parse(t, minimal)
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", *c, *want)
	}
	line := `{"rules":[{"name":"events","match":{},"client":[{"header":"x-client-id"}],` + defaultFields + `],` +
		`"max_total_streams":0,"on_contention":"allow","admin_path":""}`
	if got := c.String(); got != line {
		t.Errorf("got %s\nwant %s", got, line)
	}
}

// complete uses every field at least once.
const complete = `{
  "on_contention": "refuse",
  "rules": [
    {
      "mode": "observe",
      "name": "events",
      "match": {
        "path": {"prefix": "/events"},
        "methods": ["GET", "M-SEARCH"],
        "headers": [
          {"name": "Accept", "contains": "text/event-stream"},
          {"name": ":authority", "exact": "a<b>&c"},
          {"prefix": "x\n\u0001", "name": "x-a"},
          {"name": "x-b", "present": true},
          {"name": "x-c", "present": false},
          {"name": "x-d", "regex": "[^_].*"}
        ]
      },
      "client": [
        {"header": "X-Client-ID"}, {"cookie": "SID"}, {"query": "Tab é"}, {"header": ":path"},
        {"jwt_claim": {"claim": "https://a.example/Org é", "metadata_key": "Payload é"}},
        {"jwt_claim": {"metadata_key": "p", "claim": ["org", "a.b", "id"]}},
        {"property": ["connection", "uri_san_peer_certificate"]},
        {"source_address": true}
      ],
      "instance": [{"query": "tab"}, {"jwt_claim": {"claim": ["sub"], "metadata_key": "p"}}],
      "idle_timeout": "1m30s",
      "max_streams": 64,
      "on_duplicate": "reject_new",
      "claim_at": "request",
      "takeover_limit": {"fill_interval": "250ms", "tokens_per_fill": 7, "max_tokens": 3},
      "retry": "24h",
      "goodbye_grace": "1.5s",
      "max_lifetime": "8h0m0.5s",
      "lifetime_jitter_percent": 25,
      "on_unavailable": "refuse"
    },
    {"name": "a", "match": {"path": {"exact": "/"}}, "client": [{"query": "q"}], "takeover_limit": false, "scope": "envoy"},
    {"name": "a23456789_123456789_123456789_12", "match": {"path": {"regex": "/v\\d+|x"}, "methods": ["GET"]}, "client": [{"query": "q"}],
     "takeover_limit": {"max_tokens": 1}},
    {"name": "b", "match": {}, "client": [{"query": "q"}], "takeover_limit": {}, "scope": "fleet", "on_unavailable": "allow"}
  ],
  "admin_path": "/Streamlatch/admin",
  "max_total_streams": 10000000,
  "fleet": {
    "timeout": "1.5s",
    "lease_ttl": "30s",
    "prefix": "Team-a/stream_latch.2",
    "secret": "000102030405060708090A0B0c0d0eff",
    "clusters": ["etcd", "outbound|2379||etcd-é.example"]
  }
}`

func TestEveryField(t *testing.T) {
	q := identity.Sources{{Kind: identity.Query, Name: "q"}}
	first := config.Rule{
		Name: "events",
		Match: match.Conditions{
			Path:    match.Path{Op: match.Prefix, Value: "/events"},
			Methods: []string{"GET", "M-SEARCH"},
			Headers: []match.Header{
				{Name: "accept", Op: match.Contains, Value: "text/event-stream"},
				{Name: ":authority", Op: match.Exact, Value: "a<b>&c"},
				{Name: "x-a", Op: match.Prefix, Value: "x\n\x01"},
				{Name: "x-b", Op: match.Present},
				{Name: "x-c", Op: match.Absent},
				{Name: "x-d", Op: match.Regex, Value: "[^_].*"},
			},
		},
		Client: identity.Sources{
			{Kind: identity.Header, Name: "x-client-id"},
			{Kind: identity.Cookie, Name: "SID"},
			{Kind: identity.Query, Name: "Tab é"},
			{Kind: identity.Header, Name: ":path"},
			{Kind: identity.JWTClaim, Name: "Payload é", Path: []string{"https://a.example/Org é"}},
			{Kind: identity.JWTClaim, Name: "p", Path: []string{"org", "a.b", "id"}},
			{Kind: identity.Property, Path: []string{"connection", "uri_san_peer_certificate"}},
			{Kind: identity.SourceAddress},
		},
		Instance: identity.Sources{
			{Kind: identity.Query, Name: "tab"},
			{Kind: identity.JWTClaim, Name: "p", Path: []string{"sub"}},
		},
		MaxStreams:            64,
		OnDuplicate:           config.RejectNew,
		ClaimAt:               config.AtRequest,
		TakeoverLimit:         policy.TokenBucket{MaxTokens: 3, TokensPerFill: 7, FillInterval: 250},
		Retry:                 24 * policy.Hour,
		GoodbyeGrace:          1500,
		MaxLifetime:           8*policy.Hour + 500,
		LifetimeJitterPercent: 25,
		IdleTimeout:           90 * policy.Second,
		Mode:                  config.Observe,
		Scope:                 config.FleetScope,
		OnUnavailable:         config.RefuseUnavailable,
	}
	unlimited := defaultRule("a", q)
	unlimited.Match.Path = match.Path{Op: match.Exact, Value: "/"}
	unlimited.TakeoverLimit = policy.TokenBucket{}
	long := inFleet(defaultRule("a23456789_123456789_123456789_12", q))
	long.Match = match.Conditions{Path: match.Path{Op: match.Regex, Value: `/v\d+|x`}, Methods: []string{"GET"}}
	long.TakeoverLimit.MaxTokens = 1
	want := &config.Config{
		Rules:           []config.Rule{first, unlimited, long, inFleet(defaultRule("b", q))},
		MaxTotalStreams: 10_000_000,
		OnContention:    config.Refuse,
		AdminPath:       "/Streamlatch/admin",
		Fleet: &config.Fleet{
			Clusters: []string{"etcd", "outbound|2379||etcd-é.example"},
			Secret:   [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255},
			Prefix:   "Team-a/stream_latch.2",
			LeaseTTL: 30 * policy.Second,
			Timeout:  1500,
		},
	}
	c := parse(t, complete)
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", *c, *want)
	}
	line := `{"rules":[{"name":"events","match":{"path":{"prefix":"/events"},"methods":["GET","M-SEARCH"],"headers":[` +
		`{"name":"accept","contains":"text/event-stream"},{"name":":authority","exact":"a<b>&c"},{"name":"x-a","prefix":"x\n\u0001"},` +
		`{"name":"x-b","present":true},{"name":"x-c","present":false},{"name":"x-d","regex":"[^_].*"}]},` +
		`"client":[{"header":"x-client-id"},{"cookie":"SID"},{"query":"Tab é"},{"header":":path"},` +
		`{"jwt_claim":{"claim":"https://a.example/Org é","metadata_key":"Payload é"}},` +
		`{"jwt_claim":{"claim":["org","a.b","id"],"metadata_key":"p"}},` +
		`{"property":["connection","uri_san_peer_certificate"]},{"source_address":true}],` +
		`"instance":[{"query":"tab"},{"jwt_claim":{"claim":"sub","metadata_key":"p"}}],` +
		`"max_streams":64,"on_duplicate":"reject_new","claim_at":"request",` +
		`"takeover_limit":{"max_tokens":3,"tokens_per_fill":7,"fill_interval":"250ms"},"retry":"24h",` +
		`"goodbye_grace":"1.5s","max_lifetime":"8h0m0.5s","lifetime_jitter_percent":25,"idle_timeout":"1m30s","mode":"observe","scope":"fleet","on_unavailable":"refuse"},` +
		`{"name":"a","match":{"path":{"exact":"/"}},"client":[{"query":"q"}],` +
		strings.Replace(defaultFields, `{"max_tokens":5,"tokens_per_fill":1,"fill_interval":"30s"}`, `false`, 1) + `,` +
		`{"name":"a23456789_123456789_123456789_12","match":{"path":{"regex":"/v\\d+|x"},"methods":["GET"]},"client":[{"query":"q"}],` +
		strings.Replace(fleetFields, `"max_tokens":5`, `"max_tokens":1`, 1) + `,` +
		`{"name":"b","match":{},"client":[{"query":"q"}],` + fleetFields + `],` +
		`"max_total_streams":10000000,"on_contention":"refuse","admin_path":"/Streamlatch/admin",` +
		`"fleet":{"clusters":["etcd","outbound|2379||etcd-é.example"],"secret":"hidden, check CHECK",` +
		`"prefix":"Team-a/stream_latch.2","lease_ttl":"30s","timeout":"1.5s"}}`
	if got := hidden.ReplaceAllLiteralString(c.String(), `"secret":"hidden, check CHECK"`); got != line {
		t.Errorf("got  %s\nwant %s", got, line)
	}
	if again, err := parseAgain(c); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("the effective configuration with the secret parses as %v, %v\nwant %v", again, err, want)
	}
}

// withFleet is the smallest fleet, with these fields in addition.
func withFleet(fields string) string {
	return withFields(`"fleet": {"clusters": ["etcd"], "secret": "` + secret + `"` + fields + `}`)
}

// The fleet may come before the rules or after them, from JSON or a Struct: it makes their default.
func TestDefaultsOfAFleet(t *testing.T) {
	rule := defaultRule("events", identity.Sources{{Kind: identity.Header, Name: "x-client-id"}})
	want := &config.Config{
		Rules:        []config.Rule{inFleet(rule)},
		OnContention: config.Allow,
		Fleet: &config.Fleet{
			Clusters: []string{"etcd"},
			Secret:   [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255},
			Prefix:   "streamlatch",
			LeaseTTL: 10 * policy.Second,
			Timeout:  250,
		},
	}
	fleet := `"fleet": {"clusters": ["etcd"], "secret": "` + secret + `"}`
	for _, text := range []string{withFleet(""), `{` + fleet + `, ` + minimal[1:]} {
		for _, data := range [][]byte{[]byte(text), asStruct(t, text)} {
			if c, err := config.Parse(data); err != nil || !reflect.DeepEqual(c, want) {
				t.Errorf("%q\ngot %v, %v; want %v", data, c, err, want)
			}
		}
	}
	if c := parse(t, withRuleFields(`"scope": "envoy", "on_unavailable": "allow"`)); !reflect.DeepEqual(c.Rules, []config.Rule{rule}) {
		t.Errorf("the defaults without a fleet, given: %+v, want %+v", c.Rules, rule)
	}
}

// The effective configuration is in the log and the status. It has no secret, and does not parse
// without one. Only its check tells one secret from another.
func TestSecretIsHidden(t *testing.T) {
	c := parse(t, complete)
	line := c.String()
	if strings.Contains(strings.ToLower(line), secret) || len(hidden.FindAllString(line, -1)) != 1 {
		t.Errorf("%s\nwant the secret hidden", line)
	}
	const want = "fleet.secret: found a string of 22 bytes, want 32 hex digits"
	if _, err := config.Parse([]byte(line)); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	const check = "hidden, check "
	checks := map[string]string{}
	for _, s := range []string{secret, strings.Repeat("0", 32), "1" + strings.Repeat("0", 31), strings.Repeat("0", 31) + "1"} {
		one := hidden.FindString(parse(t, strings.Replace(withFleet(""), secret, s, 1)).String())
		if other, twice := checks[one]; twice || !strings.Contains(one, check) {
			t.Errorf("the secrets %s and %s are both shown as %s", s, other, one)
		}
		checks[one] = s
	}
	if upper := parse(t, strings.Replace(withFleet(""), secret, strings.ToUpper(secret), 1)); checks[hidden.FindString(upper.String())] != secret {
		t.Error("the same secret in capitals has another check")
	}
}

// No fault repeats a secret, whatever is wrong with it or beside it.
func TestFaultsHideTheSecret(t *testing.T) {
	const digits = "4711471147114711"
	for _, value := range []string{
		`"` + digits + `"`, `"` + digits + digits + `0"`, `"` + digits + `471147114711471g"`, `"0x` + digits + `"`, digits + digits, digits + ".5",
	} {
		for _, text := range []string{
			withFields(`"fleet": {"clusters": [], "secret": ` + value + `}`),
			withFields(`"fleet": {"Secret": ` + value + `, "secrets": ` + value + `}`),
			withFields(`"secret": ` + value),
		} {
			for _, data := range [][]byte{[]byte(text), asStruct(t, text)} {
				_, err := config.Parse(data)
				if err == nil || strings.Contains(err.Error(), "471") {
					t.Errorf("%s\n%v\nwant a fault without the secret", text, err)
				}
			}
		}
	}
}

// With an admin path, rules may be empty. The order of the two fields does not matter.
func TestAdminPathWithoutRules(t *testing.T) {
	want := &config.Config{OnContention: config.Allow, AdminPath: "/streamlatch"}
	for _, text := range []string{
		`{"rules": [], "admin_path": "/streamlatch"}`,
		`{"admin_path": "/streamlatch", "rules": []}`,
		want.String(),
	} {
		if c := parse(t, text); !reflect.DeepEqual(c, want) {
			t.Errorf("%s\ngot %+v, want %+v", text, *c, *want)
		}
	}
}

func TestDurations(t *testing.T) {
	for _, test := range []struct {
		text string
		want policy.Millis
		line string
	}{
		{"1s", policy.Second, "1s"},
		{"1.5s", 1500, "1.5s"},
		{"1500ms", 1500, "1.5s"},
		{"1000000us", policy.Second, "1s"},
		{"60s", policy.Minute, "1m"},
		{"90s", 90 * policy.Second, "1m30s"},
		{"600s", 10 * policy.Minute, "10m"},
		{"60m", policy.Hour, "1h"},
		{"3610s", policy.Hour + 10*policy.Second, "1h0m10s"},
		{"24h0m0s", 24 * policy.Hour, "24h"},
		{"1h20m0.001s", 80*policy.Minute + 1, "1h20m0.001s"},
		{"8760h", 8760 * policy.Hour, "8760h"},
		{"0s", 0, "0s"},
		{"0", 0, "0s"},
	} {
		c := parse(t, withRuleFields(`"max_lifetime": "`+test.text+`"`))
		if got := c.Rules[0].MaxLifetime; got != test.want {
			t.Errorf("%q: got %d ms, want %d", test.text, got, test.want)
		}
		if got := c.String(); !strings.Contains(got, `"max_lifetime":"`+test.line+`"`) {
			t.Errorf("%q: the effective configuration is %s, want max_lifetime %q in it", test.text, got, test.line)
		}
	}
}

// All spellings of a number are the same number.
func TestSpellingsOfNumbers(t *testing.T) {
	for _, two := range []string{"2", "2.0", "2e0", "2E+0", "20e-1", "0.2e1", "2.000000000000000000000"} {
		c := parse(t, withRuleFields(`"max_streams": `+two))
		if got := c.Rules[0].MaxStreams; got != 2 {
			t.Errorf("%s: got %d, want 2", two, got)
		}
	}
}

// The smallest and the largest value of every range are valid.
func TestLimits(t *testing.T) {
	var rules []string
	for i := range 64 {
		rules = append(rules, `{"name": "r`+strconv.Itoa(i)+`", "client": [{"query": "q"}]}`)
	}
	parse(t, `{"rules": [`+strings.Join(rules, ",")+`]}`)
	parse(t, withClient(`[`+eightSources+`]`))
	parse(t, withClient(`[{"property": ["a", "b", "c", "d", "e", "f", "g", "h"]}]`))
	parse(t, withClient(`[{"jwt_claim": {"claim": ["a", "b", "c", "d", "e", "f", "g", "h"], "metadata_key": "p"}}]`))
	for _, fields := range []string{
		`"instance": [` + eightSources + `]`,
		`"max_streams": 1`, `"max_streams": 64`,
		`"takeover_limit": {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "100ms"}`,
		`"takeover_limit": {"max_tokens": 10000, "tokens_per_fill": 10000, "fill_interval": "24h"}`,
		`"takeover_limit": {"max_tokens": 1, "tokens_per_fill": 2}`,
		`"on_duplicate": "reject_new", "takeover_limit": {"max_tokens": 1}`,
		`"retry": "100ms"`, `"retry": "24h"`,
		`"goodbye_grace": "0s"`, `"goodbye_grace": "1ms"`, `"goodbye_grace": "1m"`,
		`"max_lifetime": "0s"`, `"max_lifetime": "1s"`, `"max_lifetime": "8760h"`,
		`"lifetime_jitter_percent": 0`, `"lifetime_jitter_percent": 100`,
		`"idle_timeout": "0s"`, `"idle_timeout": "1s"`, `"idle_timeout": "8760h"`,
	} {
		parse(t, withRuleFields(fields))
	}
	for _, fields := range []string{
		`, "prefix": "a"`, `, "prefix": "-_./Z9." `, `, "prefix": "` + strings.Repeat("a", 64) + `"`,
		`, "lease_ttl": "5s"`, `, "lease_ttl": "60s"`, `, "lease_ttl": "0.1m"`,
		`, "timeout": "10ms"`, `, "timeout": "5s"`,
	} {
		parse(t, withFleet(fields))
	}
	var clusters []string
	for i := range 16 {
		clusters = append(clusters, `"etcd-`+strconv.Itoa(i)+`"`)
	}
	parse(t, strings.Replace(withFleet(""), `"etcd"`, strings.Join(clusters, ","), 1))
	for _, fields := range []string{
		`"max_total_streams": 0`, `"max_total_streams": 10000000`,
		`"admin_path": ""`, `"admin_path": "/a"`, `"admin_path": "//a.b-c_d~é"`,
	} {
		parse(t, withFields(fields))
	}
}

func TestEnumNames(t *testing.T) {
	for got, want := range map[string]string{
		config.ResetPrevious.String():    "reset_previous",
		config.RejectNew.String():        "reject_new",
		config.OnDuplicate(0).String():   "config.OnDuplicate(0)",
		config.AtResponse.String():       "response",
		config.AtRequest.String():        "request",
		config.ClaimAt(0).String():       "config.ClaimAt(0)",
		config.Allow.String():            "allow",
		config.Refuse.String():           "refuse",
		config.OnContention(0).String():  "config.OnContention(0)",
		config.Enforce.String():          "enforce",
		config.Observe.String():          "observe",
		config.Mode(0).String():          "config.Mode(0)",
		config.FleetScope.String():       "fleet",
		config.EnvoyScope.String():       "envoy",
		config.Scope(0).String():         "config.Scope(0)",
		config.OnUnavailable(0).String(): "config.OnUnavailable(0)",
		config.Mode(3).String():          "config.Mode(3)",
		config.Mode(-1).String():         "config.Mode(-1)",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for about, text := range map[string]string{"one rule": minimal, "every field": complete} {
		b.Run(about, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				parse(b, text)
			}
		})
	}
}

// If Parse returns a configuration, its String, with the secret, parses to the same one, and
// match.New accepts its rules.
func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(complete))
	f.Add([]byte(withFleet("")))
	f.Add([]byte(`{"admin_path": "/a", "rules": []}`))
	f.Add(asStruct(f, minimal))
	f.Add(asStruct(f, complete))
	for _, test := range faultTable {
		if len(test.config) < 1<<10 {
			f.Add([]byte(test.config))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse(data)
		if err != nil {
			if c != nil || err.Error() == "" {
				t.Fatalf("got %v and the error %q", c, err)
			}
			return
		}
		again, err := parseAgain(c)
		if err != nil {
			t.Fatalf("%s\ndoes not parse: %v", c, err)
		}
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("%s\nparses to\n%s", c, again)
		}
		var conditions []match.Conditions
		for _, rule := range c.Rules {
			conditions = append(conditions, rule.Match)
		}
		if _, err := match.New(conditions); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
	})
}
