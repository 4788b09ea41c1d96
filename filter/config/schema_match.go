package config

import (
	"strings"

	"github.com/streamlatch/streamlatch/filter/match"
)

func matchFields(regexes *match.Regexes) []field[match.Conditions] {
	return []field[match.Conditions]{
		{"path", optional, "any", "condition on the path, without query and fragment",
			func(v value, c *match.Conditions) { readObject(v, pathFields(regexes), &c.Path) }},
		{"methods", optional, "any", "the request has one of these methods",
			func(v value, c *match.Conditions) {
				for _, item := range v.list(1, maxMethods) {
					method, _ := item.text(wantMethod, isMethod)
					c.Methods = append(c.Methods, method)
				}
			}},
		{"headers", optional, "any", "conditions on headers. Each looks at the first value of its header",
			func(v value, c *match.Conditions) {
				for _, item := range v.list(1, maxHeaders) {
					var header match.Header
					readObject(item, headerFields(regexes), &header)
					c.Headers = append(c.Headers, header)
				}
			}},
	}
}

func pathFields(regexes *match.Regexes) []field[match.Path] {
	read := func(op match.Op) func(value, *match.Path) {
		return func(v value, p *match.Path) {
			path, _ := v.text(wantPath, isPath)
			*p = match.Path{Op: op, Value: path}
		}
	}
	return []field[match.Path]{
		{"exact", choice, "", "the path is this", read(match.Exact)},
		{"prefix", choice, "", "the path starts with this", read(match.Prefix)},
		{"regex", choice, "", "this RE2 expression matches the whole path",
			func(v value, p *match.Path) { *p = match.Path{Op: match.Regex, Value: readRegex(v, regexes)} }},
	}
}

func readRegex(v value, regexes *match.Regexes) string {
	regex, ok := v.text("an RE2 expression", notEmpty)
	if !ok {
		return ""
	}
	if err := regexes.Add(regex); err != nil {
		v.fault("found %v, want an RE2 expression: %v", v.node, err)
	}
	return regex
}

func headerFields(regexes *match.Regexes) []field[match.Header] {
	read := func(op match.Op) func(value, *match.Header) {
		return func(v value, h *match.Header) {
			h.Op = op
			h.Value, _ = v.text("a string that is not empty", notEmpty)
		}
	}
	return []field[match.Header]{
		{"name", required, "the name of a header", "upper and lower case are the same. :authority and :scheme are headers, too",
			func(v value, h *match.Header) {
				name, _ := v.text(wantMatchHeader, isMatchHeader)
				h.Name = strings.ToLower(name)
			}},
		{"exact", choice, "", "the value is this", read(match.Exact)},
		{"prefix", choice, "", "the value starts with this", read(match.Prefix)},
		{"contains", choice, "", "the value contains this", read(match.Contains)},
		{"regex", choice, "", "this RE2 expression matches the whole value",
			func(v value, h *match.Header) { h.Op, h.Value = match.Regex, readRegex(v, regexes) }},
		{"present", choice, "", "true: the header is there. false: it is not",
			func(v value, h *match.Header) {
				h.Op = match.Present
				if there, ok := v.boolean(); ok && !there {
					h.Op = match.Absent
				}
			}},
	}
}
