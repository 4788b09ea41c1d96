package config_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/streamlatch/streamlatch/filter/config"
)

// message returns a serialized message with one field: this content, under field number n.
func message(n protowire.Number, content string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), content))
}

// repeat returns text so often that it takes most of the largest configuration.
func repeat(text string) string { return strings.Repeat(text, (250<<10)/len(text)) }

// Envoy's main thread and every worker parse the configuration, and none of them serves anything
// meanwhile. In the VM nothing of what is allocated meanwhile is freed, and the VM may have 1 GiB.
// So these inputs, as large as may be, are read with linear work: far below a kilobyte for each
// byte.
func TestHostileConfigurationsTakeLinearWork(t *testing.T) {
	var unknown strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&unknown, `"k%d": 1, `, i)
	}
	pathRegex := func(expr string) string {
		return withRuleFields(`"match": {"path": {"regex": "` + expr + `"}}`)
	}
	member := func(key, value string) string { return message(1, message(1, key)+message(2, value)) }
	for about, data := range map[string]string{
		"unknown fields":          `{` + unknown.String() + `"rules": []}`,
		"repeated fields":         withFields(repeat(`"admin_path": "", `) + `"admin_path": ""`),
		"clusters":                withFields(`"fleet": {"clusters": [` + repeat(`"a",`) + `"a"]}`),
		"a long secret":           withFields(`"fleet": {"secret": "` + repeat("0") + `"}`),
		"a long prefix":           withFields(`"fleet": {"prefix": "` + repeat("a") + `"}`),
		"items":                   `{"rules": [` + repeat("0,") + `0]}`,
		"empty objects":           `{"rules": [` + repeat("{},") + `0]}`,
		"nested lists":            `{"rules": [` + repeat("[[[[[]]]]],") + `0]}`,
		"open lists":              repeat("["),
		"white space":             repeat(" ") + "x",
		"lines":                   repeat("\n") + "x",
		"digits":                  withFields(`"max_total_streams": 1` + repeat("0")),
		"digits after the point":  withFields(`"max_total_streams": 0.` + repeat("3")),
		"digits of the exponent":  withFields(`"max_total_streams": 1e` + repeat("9")),
		"negative exponent":       withFields(`"max_total_streams": 1e-` + repeat("9") + `9`),
		"terms of a duration":     withRuleFields(`"retry": "` + repeat("1h") + `"`),
		"digits of a duration":    withRuleFields(`"retry": "0.` + repeat("9") + `s"`),
		"escapes":                 `{"` + repeat(`\u0041`) + `": 1}`,
		"word breaks in a key":    `{"` + repeat("_") + `rules": 1}`,
		"a large regex":           pathRegex(repeat("a")),
		"literal regex":           pathRegex(strings.Repeat("a", 4000)),
		"groups in a regex":       pathRegex(strings.Repeat("(", 4000)),
		"repetitions in a regex":  pathRegex(strings.Repeat("(a{1000})", 400)),
		"alternatives in a regex": pathRegex(strings.Repeat("a|ab|", 800)),
		"quotations in a regex":   pathRegex(strings.Repeat(`\\Qa\\E`, 500)),
		"classes in a regex":      pathRegex(strings.Repeat(`\\pL`, 1000)),
		"a class of classes":      pathRegex("[" + strings.Repeat(`\\pL`, 1000) + "]"),
		"items of a Struct":       member("rules", message(6, repeat(message(1, "")))),
		"members of a Struct":     repeat(member("rules", "\x08\x00")),
		"values of one member":    message(1, message(1, "rules")+repeat(message(2, message(6, "")))),
		"lists in one value":      member("rules", repeat(message(6, message(1, "")))),
		"malformed Struct":        repeat(member("rules", "\x08\x00")) + "\x0a",
	} {
		t.Run(about, func(t *testing.T) {
			if len(data) > 256<<10 {
				t.Fatalf("the input has %d bytes: it is refused for that alone", len(data))
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c, err := config.Parse([]byte(data))
			runtime.ReadMemStats(&after)
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 100<<20 {
				t.Errorf("allocated %d bytes, want at most 100 MiB", allocated)
			}
			if err == nil {
				if _, err := parseAgain(c); err != nil {
					t.Errorf("the effective configuration does not parse: %v", err)
				}
			} else if size := len(err.Error()); size > 8<<10 {
				t.Errorf("the error has %d bytes, want at most 8192", size)
			}
		})
	}
}

// Of a larger configuration nothing is read.
func TestConfigurationIsTooLarge(t *testing.T) {
	fits := minimal + strings.Repeat(" ", 256<<10-len(minimal))
	if _, err := config.Parse([]byte(fits)); err != nil {
		t.Errorf("256 KiB: %v", err)
	}
	const want = "configuration: found 262145 bytes, want at most 262144"
	if _, err := config.Parse([]byte(fits + " ")); fmt.Sprint(err) != want {
		t.Errorf("one byte more: got %v, want %s", err, want)
	}
}

// Path regexes that are sound each, and too much together.
func TestTooManyRegexes(t *testing.T) {
	rules := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"name": "r%d", "client": [{"header": "x"}], "match": {"path": {"regex": "/[a-z]+/[a-z]+/events"}}}`, i))
		}
		return `{"rules": [` + strings.Join(all, ",") + `]}`
	}
	if _, err := config.Parse([]byte(rules(56))); err != nil { // of 9 instructions each
		t.Error(err)
	}
	const want = `rules[56].match.path.regex: found "/[a-z]+/[a-z]+/events", want an RE2 expression: ` +
		`the regexes up to this one have 513 instructions together, want at most 512`
	if _, err := config.Parse([]byte(rules(60))); fmt.Sprint(err) != want { // one fault, one report
		t.Errorf("got %v, want %s", err, want)
	}
}
