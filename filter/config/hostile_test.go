package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/streamlatch/streamlatch/filter/config"
)

// message returns a serialized message with one field: this content, under field number n.
func message(n protowire.Number, content string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), content))
}

// Envoy's main thread and every worker parse the configuration, and none of them serves anything
// meanwhile. These inputs are far larger than a sound configuration: linear work on them takes
// fractions of a second, quadratic work minutes.
func TestHostileConfigurationsTakeLinearTime(t *testing.T) {
	const many = 1 << 17
	var unknown strings.Builder
	for i := range many {
		fmt.Fprintf(&unknown, `"k%d": 1, `, i)
	}
	pathRegex := func(expr string) string {
		return withRuleFields(`"match": {"path": {"regex": "` + expr + `"}}`)
	}
	member := func(key, value string) string { return message(1, message(1, key)+message(2, value)) }
	emptyValues := strings.Repeat(message(1, ""), many) // a ListValue
	for about, data := range map[string]string{
		"unknown fields":          `{` + unknown.String() + `"rules": []}`,
		"repeated fields":         withFields(strings.Repeat(`"admin_path": "", `, many) + `"admin_path": ""`),
		"items":                   `{"rules": [` + strings.Repeat("0,", many) + `0]}`,
		"nested lists":            `{"rules": [` + strings.Repeat("[[[[[]]]]],", many) + `0]}`,
		"open lists":              strings.Repeat("[", many),
		"white space":             strings.Repeat(" ", many) + "x",
		"lines":                   strings.Repeat("\n", many) + "x",
		"digits":                  withFields(`"max_total_streams": 1` + strings.Repeat("0", many)),
		"digits after the point":  withFields(`"max_total_streams": 0.` + strings.Repeat("3", many)),
		"digits of the exponent":  withFields(`"max_total_streams": 1e` + strings.Repeat("9", many)),
		"negative exponent":       withFields(`"max_total_streams": 1e-` + strings.Repeat("9", many) + `9`),
		"terms of a duration":     withRuleFields(`"retry": "` + strings.Repeat("1h", many) + `"`),
		"digits of a duration":    withRuleFields(`"retry": "0.` + strings.Repeat("9", many) + `s"`),
		"escapes":                 `{"` + strings.Repeat(`\u0041`, many) + `": 1}`,
		"word breaks in a key":    `{"` + strings.Repeat("_", many) + `rules": 1}`,
		"literal regex":           pathRegex(strings.Repeat("a", many/4)),
		"groups in a regex":       pathRegex(strings.Repeat("(", many/4)),
		"repetitions in a regex":  pathRegex(strings.Repeat("(a{1000})", many/32)),
		"alternatives in a regex": pathRegex(strings.Repeat("a|ab|", many/16)),
		"quotations in a regex":   pathRegex(strings.Repeat(`\\Qa\\E`, many/4)),
		"items of a Struct":       member("rules", message(6, emptyValues)),
		"members of a Struct":     strings.Repeat(member("rules", "\x08\x00"), many),
		"values of one member":    message(1, message(1, "rules")+strings.Repeat(message(2, message(6, "")), many)),
		"lists in one value":      member("rules", strings.Repeat(message(6, message(1, "")), many)),
		"malformed Struct":        strings.Repeat(member("rules", "\x08\x00"), many) + "\x0a",
	} {
		t.Run(about, func(t *testing.T) {
			start := time.Now()
			c, err := config.Parse([]byte(data))
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v, want at most 20s", took)
			}
			if err == nil {
				if _, err := config.Parse([]byte(c.String())); err != nil {
					t.Errorf("the effective configuration does not parse: %v", err)
				}
			} else if size := len(err.Error()); size > 8<<10 {
				t.Errorf("the error has %d bytes, want at most 8192", size)
			}
		})
	}
}
