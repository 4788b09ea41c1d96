package config_test

import (
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/match"
)

func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := config.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}

const least = `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}]}]}`

func TestDefaults(t *testing.T) {
	want := &config.Config{Rules: []config.Rule{{
		Name:        "events",
		Client:      identity.Sources{{Kind: identity.Header, Name: "x-client-id"}},
		MaxStreams:  1,
		OnDuplicate: config.ResetPrevious,
		ClaimAt:     config.AtResponse,
		Mode:        config.Enforce,
	}}}
	c := parse(t, least)
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	line := `{"rules":[{"name":"events","match":{},"client":[{"header":"x-client-id"}],` +
		`"max_streams":1,"on_duplicate":"reset_previous","claim_at":"response","mode":"enforce"}]}`
	if got := c.String(); got != line {
		t.Errorf("got %s\nwant %s", got, line)
	}
}

// everything uses each field at least once.
const everything = `{
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
          {"name": "x-c", "present": false}
        ]
      },
      "client": [{"header": "X-Client-ID"}, {"cookie": "SID"}, {"query": "Tab é"}, {"header": ":path"}],
      "max_streams": 64,
      "on_duplicate": "reset_previous",
      "claim_at": "response"
    },
    {"name": "a", "match": {"path": {"exact": "/"}}, "client": [{"query": "q"}]},
    {"name": "a23456789_123456789_123456789_12", "match": {"path": {"regex": "/v\\d+|x"}, "methods": ["GET"]}, "client": [{"query": "q"}]},
    {"name": "b", "match": {}, "client": [{"query": "q"}]}
  ]
}`

func TestEveryField(t *testing.T) {
	q := identity.Sources{{Kind: identity.Query, Name: "q"}}
	rule := func(name string, conditions match.Conditions) config.Rule {
		return config.Rule{Name: name, Match: conditions, Client: q, MaxStreams: 1,
			OnDuplicate: config.ResetPrevious, ClaimAt: config.AtResponse, Mode: config.Enforce}
	}
	want := &config.Config{Rules: []config.Rule{
		{
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
				},
			},
			Client: identity.Sources{
				{Kind: identity.Header, Name: "x-client-id"},
				{Kind: identity.Cookie, Name: "SID"},
				{Kind: identity.Query, Name: "Tab é"},
				{Kind: identity.Header, Name: ":path"},
			},
			MaxStreams:  64,
			OnDuplicate: config.ResetPrevious,
			ClaimAt:     config.AtResponse,
			Mode:        config.Observe,
		},
		rule("a", match.Conditions{Path: match.Path{Op: match.Exact, Value: "/"}}),
		rule("a23456789_123456789_123456789_12", match.Conditions{
			Path: match.Path{Op: match.Regex, Value: `/v\d+|x`}, Methods: []string{"GET"}}),
		rule("b", match.Conditions{}),
	}}
	c := parse(t, everything)
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	line := `{"rules":[{"name":"events","match":{"path":{"prefix":"/events"},"methods":["GET","M-SEARCH"],"headers":[` +
		`{"name":"accept","contains":"text/event-stream"},{"name":":authority","exact":"a<b>&c"},{"name":"x-a","prefix":"x\n\u0001"},` +
		`{"name":"x-b","present":true},{"name":"x-c","present":false}]},` +
		`"client":[{"header":"x-client-id"},{"cookie":"SID"},{"query":"Tab é"},{"header":":path"}],` +
		`"max_streams":64,"on_duplicate":"reset_previous","claim_at":"response","mode":"observe"},` +
		`{"name":"a","match":{"path":{"exact":"/"}},"client":[{"query":"q"}],` +
		`"max_streams":1,"on_duplicate":"reset_previous","claim_at":"response","mode":"enforce"},` +
		`{"name":"a23456789_123456789_123456789_12","match":{"path":{"regex":"/v\\d+|x"},"methods":["GET"]},"client":[{"query":"q"}],` +
		`"max_streams":1,"on_duplicate":"reset_previous","claim_at":"response","mode":"enforce"},` +
		`{"name":"b","match":{},"client":[{"query":"q"}],` +
		`"max_streams":1,"on_duplicate":"reset_previous","claim_at":"response","mode":"enforce"}]}`
	if got := c.String(); got != line {
		t.Errorf("got  %s\nwant %s", got, line)
	}
}

// A Struct holds doubles, and Envoy prints them as it likes.
func TestNumbersOfAStruct(t *testing.T) {
	for _, two := range []string{"2", "2.0", "2e0", "2E+0", "20e-1", "0.2e1", "2.000000000000000000000"} {
		c := parse(t, with(`"max_streams": `+two))
		if got := c.Rules[0].MaxStreams; got != 2 {
			t.Errorf("%s was read as %d", two, got)
		}
	}
}

// The limits themselves are allowed.
func TestLimits(t *testing.T) {
	var rules []string
	for i := range 64 {
		rules = append(rules, `{"name": "r`+strconv.Itoa(i)+`", "client": [{"query": "q"}]}`)
	}
	parse(t, `{"rules": [`+strings.Join(rules, ",")+`]}`)
	parse(t, from(`[`+strings.Repeat(`{"query": "a"}, `, 7)+`{"query": "a"}]`))
	parse(t, with(`"max_streams": 1`))
	parse(t, with(`"max_streams": 64`))
}

func TestEnumsHaveNames(t *testing.T) {
	for got, want := range map[string]string{
		config.ResetPrevious.String():  "reset_previous",
		config.OnDuplicate(0).String(): "OnDuplicate(0)",
		config.AtResponse.String():     "response",
		config.ClaimAt(0).String():     "ClaimAt(0)",
		config.Enforce.String():        "enforce",
		config.Observe.String():        "observe",
		config.Mode(0).String():        "Mode(0)",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for about, text := range map[string]string{"one rule": least, "every field": everything} {
		b.Run(about, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				parse(b, text)
			}
		})
	}
}

// What parses is valid for match.New, and its String says the same again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(least))
	f.Add([]byte(everything))
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
		again, err := config.Parse([]byte(c.String()))
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
