package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/match"
)

const (
	maxRules   = 64
	maxSources = 8
	maxStreams = 64
	maxMethods = 16
	maxHeaders = 16
	maxName    = 32
)

// Field documents one field. Name is the way to it ("rules[].match.path.exact").
type Field struct {
	Name    string
	Default string
	Meaning string
}

// Fields returns all fields that Parse knows, outer ones first.
func Fields() []Field {
	var all []Field
	all = document(all, "", configFields())
	all = document(all, "rules[].", ruleFields(nil))
	all = document(all, "rules[].match.", matchFields())
	all = document(all, "rules[].match.path.", pathFields())
	all = document(all, "rules[].match.headers[].", headerFields())
	all = document(all, "rules[].client[].", sourceFields())
	return all
}

func document[T any](all []Field, prefix string, fields []field[T]) []Field {
	for _, f := range fields {
		standard := f.standard
		switch f.need {
		case required:
			standard = "required, " + standard
		case choice:
			standard = "one of these"
		}
		all = append(all, Field{prefix + f.name, standard, f.meaning})
	}
	return all
}

func configFields() []field[Config] {
	return []field[Config]{
		{"rules", required, fmt.Sprintf("1 to %d rules", maxRules), "the first that matches a request wins",
			func(v value, c *Config) {
				for _, item := range v.list(1, maxRules) {
					rule := defaults()
					readObject(item, ruleFields(c.Rules), &rule)
					c.Rules = append(c.Rules, rule)
				}
			}},
	}
}

// ruleFields is the schema of a rule that stands after the earlier ones.
func ruleFields(earlier []Rule) []field[Rule] {
	standard := defaults()
	return []field[Rule]{
		{"name", required, wantName + ", unique", "in metrics and logs; two listeners with the same rule name and vm_id share clients",
			func(v value, r *Rule) {
				var ok bool
				if r.Name, ok = v.text(wantName, isName); !ok {
					return
				}
				if i := slices.IndexFunc(earlier, func(other Rule) bool { return other.Name == r.Name }); i >= 0 {
					v.fault("%q is the name of rules[%d] already, want a unique name", r.Name, i)
				}
			}},
		{"match", optional, "every request", "conditions, all of which must hold",
			func(v value, r *Rule) { readObject(v, matchFields(), &r.Match) }},
		{"client", required, fmt.Sprintf("1 to %d sources", maxSources), "all of them together are the key; one missing or empty: not tracked, counted",
			func(v value, r *Rule) {
				for _, item := range v.list(1, maxSources) {
					var source identity.Source
					readObject(item, sourceFields(), &source)
					r.Client = append(r.Client, source)
				}
			}},
		{"max_streams", optional, fmt.Sprint(standard.MaxStreams), fmt.Sprintf("streams a client may have, up to %d; over it the oldest go", maxStreams),
			func(v value, r *Rule) { r.MaxStreams, _ = v.integer(1, maxStreams) }},
		{"on_duplicate", optional, standard.OnDuplicate.String(), "what a newcomer over max_streams does",
			func(v value, r *Rule) { r.OnDuplicate, _ = enum(v, ResetPrevious) }},
		{"claim_at", optional, standard.ClaimAt.String(), "when a stream takes its client's place",
			func(v value, r *Rule) { r.ClaimAt, _ = enum(v, AtResponse) }},
		{"mode", optional, standard.Mode.String(), "enforce, or observe: count and log what would happen, touch nothing",
			func(v value, r *Rule) { r.Mode, _ = enum(v, Enforce, Observe) }},
	}
}

func matchFields() []field[match.Conditions] {
	return []field[match.Conditions]{
		{"path", optional, "any", "the path without query and fragment",
			func(v value, c *match.Conditions) { readObject(v, pathFields(), &c.Path) }},
		{"methods", optional, "any", "the method is one of these",
			func(v value, c *match.Conditions) {
				for _, item := range v.list(1, maxMethods) {
					method, _ := item.text(wantMethod, isMethod)
					c.Methods = append(c.Methods, method)
				}
			}},
		{"headers", optional, "any", "each condition holds for the first value of its header",
			func(v value, c *match.Conditions) {
				for _, item := range v.list(1, maxHeaders) {
					var header match.Header
					readObject(item, headerFields(), &header)
					c.Headers = append(c.Headers, header)
				}
			}},
	}
}

func pathFields() []field[match.Path] {
	read := func(op match.Op) func(value, *match.Path) {
		return func(v value, p *match.Path) {
			path, _ := v.text(wantPath, isPath)
			*p = match.Path{Op: op, Value: path}
		}
	}
	return []field[match.Path]{
		{"exact", choice, "", "the whole path", read(match.Exact)},
		{"prefix", choice, "", "how the path begins", read(match.Prefix)},
		{"regex", choice, "", "an RE2 expression for the whole path",
			func(v value, p *match.Path) {
				regex, ok := v.text("an RE2 expression", notEmpty)
				if !ok {
					return
				}
				if err := match.CheckRegex(regex); err != nil {
					v.fault("found %s (%v), want an RE2 expression", quote(regex), err)
				}
				*p = match.Path{Op: match.Regex, Value: regex}
			}},
	}
}

func headerFields() []field[match.Header] {
	read := func(op match.Op) func(value, *match.Header) {
		return func(v value, h *match.Header) {
			h.Op = op
			h.Value, _ = v.text("some text", notEmpty)
		}
	}
	return []field[match.Header]{
		{"name", required, "the name of a header", "in any case; :authority and :scheme are headers too",
			func(v value, h *match.Header) {
				name, _ := v.text(wantMatchHeader, isMatchHeader)
				h.Name = strings.ToLower(name)
			}},
		{"exact", choice, "", "the whole value", read(match.Exact)},
		{"prefix", choice, "", "how the value begins", read(match.Prefix)},
		{"contains", choice, "", "what the value has anywhere", read(match.Contains)},
		{"present", choice, "", "true: the header is there; false: it is not",
			func(v value, h *match.Header) {
				h.Op = match.Present
				if there, ok := v.boolean(); ok && !there {
					h.Op = match.Absent
				}
			}},
	}
}

func sourceFields() []field[identity.Source] {
	return []field[identity.Source]{
		{"header", choice, "", "the first value of this header; :authority, :method, :path and :scheme are headers too",
			func(v value, s *identity.Source) {
				name, _ := v.text(wantHeader, isHeader)
				*s = identity.Source{Kind: identity.Header, Name: strings.ToLower(name)}
			}},
		{"cookie", choice, "", "the first cookie of this name",
			func(v value, s *identity.Source) {
				name, _ := v.text(wantCookie, isToken)
				*s = identity.Source{Kind: identity.Cookie, Name: name}
			}},
		{"query", choice, "", "the first query parameter of this name",
			func(v value, s *identity.Source) {
				name, _ := v.text("the name of a query parameter", notEmpty)
				*s = identity.Source{Kind: identity.Query, Name: name}
			}},
	}
}
